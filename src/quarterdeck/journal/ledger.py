"""The ledger: what is spent and set aside under each budget, kept in the database that all processes share.

Money is counted in whole nano-dollars and always rounded up, limits down. What a process that was killed had set aside
stays set aside, and so counts as spent: the call may have been billed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import bindparam, select, text, update

from quarterdeck.errors import JournalError, LimitReached
from quarterdeck.journal.events import Decision
from quarterdeck.journal.tables import budgets as table
from quarterdeck.spec.limits import ALL

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.statement import Statement
    from quarterdeck.journal.store import Store
    from quarterdeck.spec.crew import Limits
    from quarterdeck.spec.limits import BudgetSpec

NO_LIMIT = 2**62
MAX_AMOUNT = 10**16
"""Of one call, in nano-dollars or tokens: far above any limit, far below what a column holds."""

OWN = "run/"
"""Before a run's id: the key of its own budget."""

_PER = {"day": " a day", "month": " a month", "ever": ""}


class Amount(NamedTuple):
    """What one call takes, or may take."""

    nano: int
    tokens: int


NOTHING = Amount(0, 0)


class Hold(NamedTuple):
    """What is set aside for one call: the rows, and how much in each."""

    keys: tuple[str, ...]
    amount: Amount


@dataclass(frozen=True, slots=True)
class Account:
    """One budget as a call is charged to it.

    Attributes:
        key: Its row.
        limit: At most; `NO_LIMIT` for any amount.
        owner: Whose it is, for messages.
        place: Where it is declared; empty for the run's own.
        per: How long it holds, for messages.
        opening: What was used before there was a row.
    """

    key: str
    limit: Amount
    owner: str
    place: str = ""
    per: str = ""
    opening: Amount = NOTHING


class _Refused(JournalError):
    """Rolls a reservation back; never leaves this file."""

    def __init__(self, account: Account, used: Amount) -> None:
        super().__init__(f"{account.key} has no room")
        self.account = account
        self.used = used


class Ledger:
    """The budgets that one run belongs to: its own, and those of `config/limits.yaml` that cover it.

    Args:
        journal: The run's journal.
        limits: The run's own limits.
        shared: What all runs on the database may use together.
    """

    def __init__(self, journal: RunJournal, limits: Limits, shared: Sequence[BudgetSpec] = ()) -> None:
        self._journal = journal
        self._shared = [budget for budget in shared if budget.covers(journal.crew, journal.tenant)]
        self._own: Account | None = None
        if limits.usd is not None or limits.tokens is not None:
            used = journal.totals
            opening = Amount(nano(used.known_usd), used.tokens)
            self._own = Account(_own_key(journal), _limit(limits.usd, limits.tokens), "this run", opening=opening)

    @property
    def empty(self) -> bool:
        """Whether the run belongs to no budget at all."""
        return self._own is None and not self._shared

    @property
    def usd_budget(self) -> str:
        """The first budget in USD, as people know it; empty when there is none."""
        accounts = self._accounts(0)
        return next((_name(account, "usd") for account in accounts if account.limit.nano != NO_LIMIT), "")

    async def reserve(self, amount: Amount, room: Amount = NOTHING) -> Hold:
        """Set an amount aside under every budget of the run, or under none; when this returns, it is committed.

        Args:
            amount: What the call may take at most.
            room: What must be left besides, and is not set aside.

        Raises:
            LimitReached: A budget has no room for it; says which, and how it is raised.
            JournalError: The database cannot be used.
        """
        accounts = sorted(self._accounts(time.time()), key=lambda account: account.key)
        amount = Amount(min(amount.nano, MAX_AMOUNT), min(amount.tokens, MAX_AMOUNT))
        room = Amount(min(room.nano, MAX_AMOUNT), min(room.tokens, MAX_AMOUNT))
        hold = Hold(tuple(account.key for account in accounts), amount)
        if not accounts:
            return hold
        for may_wait in (True, False):
            try:
                await self._take(hold, accounts, room)
                break
            except _Refused as refused:
                # what an earlier call of the run gives back may still be on its way
                if not (may_wait and self._journal.flush()):
                    raise self._limit_reached(refused, amount, room) from None
        return hold

    async def _take(self, hold: Hold, accounts: Sequence[Account], room: Amount) -> None:
        writer = self._journal.store.writer
        take = partial(_take, accounts=accounts, amount=hold.amount, room=room, statement=writer.compiled(_TAKE))
        taking = asyncio.ensure_future(writer.ask(take))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait({taking})  # some milliseconds, after which it is known what to give back
            if not taking.cancelled() and taking.exception() is None:
                self.settle(hold, NOTHING)
            raise

    def settle(self, hold: Hold, used: Amount) -> None:
        """Put what a call really took in the place of what was set aside, in the transaction of the next event."""
        _settle_along(self._journal, hold, used)

    def _accounts(self, now: float) -> Iterator[Account]:
        if self._own is not None:
            yield self._own
        for budget in self._shared:
            yield _account(budget, self._journal.crew, self._journal.tenant, now)

    def _limit_reached(self, refused: _Refused, amount: Amount, room: Amount) -> LimitReached:
        account, used = refused.account, refused.used
        what: Literal["usd", "tokens"] = "usd" if used.nano + amount.nano + room.nano > account.limit.nano else "tokens"
        besides = ", with room for a last answer," if any(room) else ""
        resume = f"quarterdeck runs resume {self._journal.id}"
        if what == "usd":
            message = (
                f"The next call could cost up to {shown(amount.nano + room.nano)}{besides} and pass the "
                f"{shown(account.limit.nano)}{account.per} of {_name(account, what)}; "
                f"{shown(used.nano)} is spent or set aside."
            )
        else:
            message = (
                f"The next call could take up to {amount.tokens + room.tokens:,} tokens{besides} and pass the "
                f"{account.limit.tokens:,}{account.per} of {_name(account, what)}; "
                f"{used.tokens:,} are used or set aside."
            )
        if account.place:
            later = " or wait until the next one" if account.per else ""
            return LimitReached(message, what, f"Raise it at {account.place}{later}, then go on: {resume}")
        option = "--usd AMOUNT" if what == "usd" else "--tokens NUMBER"
        return LimitReached(message, what, f"Give it a higher total and let it go on: {resume} {option}")


async def recover(journal: RunJournal) -> Amount:
    """Count as spent what the process before this one had set aside for the run and never settled, and record that.

    Args:
        journal: A run that was just taken up; nobody else works on it.

    Returns:
        How much that was.
    """
    key = _own_key(journal)
    left = await journal.store.writer.ask(partial(_left, key=key))
    if any(left):
        _settle_along(journal, Hold((key,), left), left)
        why = f"{shown(left.nano)} and {left.tokens:,} tokens were set aside when the process before this one ended"
        await journal.append(Decision(what="counted as spent", why=f"{why}: those calls may have been billed"))
    return left


async def charged(store: Store, run_id: str) -> Decimal:
    """Return what is spent and set aside under a run's own budget, in USD; 0 where it has none.

    Args:
        store: Where the run is kept.
        run_id: Its whole id.

    Raises:
        JournalError: The database cannot be used.
    """
    query = select(_used_nano).where(table.c.key == f"{OWN}{run_id}")
    return Decimal(sum(await asyncio.to_thread(lambda: [row[0] for row in store.read(query)]))).scaleb(-9)


def _settle_along(journal: RunJournal, hold: Hold, used: Amount) -> None:
    statement = journal.store.writer.compiled(_SETTLE)
    values = {
        "now": time.time(), "held_nano": hold.amount.nano, "held_tokens": hold.amount.tokens,
        "nano": min(used.nano, MAX_AMOUNT), "tokens": min(used.tokens, MAX_AMOUNT),
    }  # fmt: skip
    for key in hold.keys:
        journal.along(partial(_settle, statement=statement, values={"row": key, **values}), key)


def nano(usd: Decimal) -> int:
    """Return USD as whole nano-dollars, rounded up."""
    return int(usd.scaleb(9).to_integral_value(ROUND_CEILING))


def shown(amount: int) -> str:
    """Return nano-dollars as exact USD."""
    return f"${Decimal(amount).scaleb(-9).normalize():f}"


def _limit(usd: float | None, tokens: int | None) -> Amount:
    ceiling = NO_LIMIT if usd is None else int(Decimal(str(usd)).scaleb(9).to_integral_value(ROUND_FLOOR))
    return Amount(min(ceiling, NO_LIMIT), min(NO_LIMIT if tokens is None else tokens, NO_LIMIT))


def _own_key(journal: RunJournal) -> str:
    return f"{OWN}{journal.id}"


def _account(budget: BudgetSpec, crew: str, tenant: str, now: float) -> Account:
    """Return a shared budget as a run is charged to it at a moment, in seconds since 1970."""
    whose, owner = [], []
    for kind, declared, name in (("crew", budget.crew, crew), ("tenant", budget.tenant, tenant)):
        if declared is not None:
            # each for itself is another budget than the one of that very name: both hold
            whose.append(f"each-{kind}/{name}" if declared == ALL else f"{kind}/{name}")
            owner.append(f"{kind} {name}" if name else f"runs without a {kind}")
    length = {"day": 10, "month": 7, "ever": 0}[budget.per]
    period = time.strftime("%Y-%m-%d", time.gmtime(now))[:length] or "ever"
    return Account(
        key="/".join([*(whose or ["all"]), period]),
        limit=_limit(budget.usd, budget.tokens),
        owner=" of ".join(owner) or "all runs",
        place=budget.place,
        per=_PER[budget.per],
    )


def _name(account: Account, what: str) -> str:
    return f"{account.owner} ({account.place or f'limits.{what}'})"


# What follows runs on the writer's thread. A write comes first, so that SQLite takes its lock before anything is read,
# and rows are locked in the order of their keys, so that no two processes ever wait for each other.

_used_nano = table.c.spent_nano + table.c.reserved_nano
_used_tokens = table.c.spent_tokens + table.c.reserved_tokens
_TAKE = (
    update(table)
    .where(
        table.c.key == bindparam("row"),
        _used_nano + bindparam("need_nano") <= bindparam("limit_nano"),
        _used_tokens + bindparam("need_tokens") <= bindparam("limit_tokens"),
    )
    .values(
        reserved_nano=table.c.reserved_nano + bindparam("nano"),
        reserved_tokens=table.c.reserved_tokens + bindparam("tokens"),
        updated_at=bindparam("now"),
    )
)
_SETTLE = (
    update(table)
    .where(table.c.key == bindparam("row"))
    .values(
        reserved_nano=table.c.reserved_nano - bindparam("held_nano"),
        reserved_tokens=table.c.reserved_tokens - bindparam("held_tokens"),
        spent_nano=table.c.spent_nano + bindparam("nano"),
        spent_tokens=table.c.spent_tokens + bindparam("tokens"),
        updated_at=bindparam("now"),
    )
)
_OPEN = text(
    "INSERT INTO budgets (key, spent_nano, reserved_nano, spent_tokens, reserved_tokens, updated_at) "
    "VALUES (:row, :nano, 0, :tokens, 0, :now) ON CONFLICT (key) DO NOTHING"
)


def _take(
    connection: Connection, accounts: Sequence[Account], amount: Amount, room: Amount, statement: Statement
) -> None:
    now = time.time()
    for account in accounts:
        values = {
            "row": account.key, "now": now, "nano": amount.nano, "tokens": amount.tokens,
            "need_nano": amount.nano + room.nano, "need_tokens": amount.tokens + room.tokens,
            "limit_nano": account.limit.nano, "limit_tokens": account.limit.tokens,
        }  # fmt: skip
        if _change(connection, statement, values):
            continue
        connection.execute(_OPEN, {"row": account.key, "now": now, **account.opening._asdict()})
        if not _change(connection, statement, values):
            row = connection.execute(select(_used_nano, _used_tokens).where(table.c.key == account.key)).one()
            raise _Refused(account, Amount(*row))


def _settle(connection: Connection, statement: Statement, values: dict[str, Any]) -> None:
    _change(connection, statement, values)


def _change(connection: Connection, statement: Statement, values: dict[str, Any]) -> int:
    cursor = connection.connection.cursor()  # the driver's own, as the writer's: twice a call, so it counts
    try:
        statement.run(cursor, [values])
        return cursor.rowcount
    finally:
        cursor.close()


def _left(connection: Connection, key: str) -> Amount:
    row = connection.execute(select(table.c.reserved_nano, table.c.reserved_tokens).where(table.c.key == key)).first()
    return NOTHING if row is None else Amount(row[0], row[1])
