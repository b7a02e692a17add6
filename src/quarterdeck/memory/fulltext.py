"""Full text of memories: FTS5 with BM25 on SQLite, tsvector on PostgreSQL with BM25 written out.

Every word is indexed together with the scope that it belongs to. So a search touches nothing of others, takes as long
as its own scope is large, and no other scope's words weigh in its scores.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Float, Integer, Text, bindparam, column, delete, func, select, table, text

from quarterdeck.journal.schema import TEXT_INDEX
from quarterdeck.journal.tables import memories
from quarterdeck.memory.item import Scope
from quarterdeck.memory.rows import holds, within
from quarterdeck.tools.words import content_stems

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

    from quarterdeck.journal.store import Store

MAX_WORDS = 48
"""Different words of a query that are looked up; the first ones."""
MAX_HITS = 5_000
"""Of one word, before it is looked whether they hold and are of the kinds asked for."""
PAGE = 200
_WORD = re.compile(r"[^\W_]+")
_TABLE = table("memory_text", column("memory", Integer))
_SIZES = table("memory_text_docsize", column("id", Integer))

COMMON = frozenset(
    "a about after again all also am an and any anybody anyone anything are as at be because been before being "
    "between both but by can could d did do does down during each either else ever every everybody everyone "
    "everything few for from further had has have he her here hers herself him himself his how i if in is it "
    "its itself just ll m me more most must my myself neither no nobody none nor not nothing now of off on "
    "once one only or other others ought our ours ourselves out over own re s same shall she should so some "
    "somebody someone something such t than that the their theirs them themselves then there these they this "
    "those through to too under until up upon us ve very was we were what when where which who whom whose why "
    "will with within without would yes yet you your yours yourself".split()
)
"""Not looked up where a query has other words: they are in most texts, tell little, and cost the most."""

Entry = tuple[int, Scope, str]
"""The number of a memory, whose it is, and its text."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query.

    Attributes:
        telling: How much it tells: the rarer in the scope, the more.
        held: How much of it is in each memory by number: the share of what is in the one that has most of it.
    """

    telling: float
    held: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Hits:
    """What full text finds.

    Attributes:
        scores: BM25 of the best memories by number, above 0; each word is measured by the memory that has most of it.
        words: The words that were looked up, with all memories that hold them.
    """

    scores: dict[int, float] = field(default_factory=dict)
    words: tuple[Word, ...] = ()


class TextIndex(Protocol):
    """The index of one kind of database. The writing methods belong into the transaction that changes `memories`."""

    def put(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Index texts that are not indexed yet."""
        ...

    def remove(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Forget texts; one that is not indexed is passed over."""
        ...

    def renew(self, connection: Connection) -> None:
        """Make the index anew and empty, whatever is left of it."""
        ...

    def indexed(self) -> ColumnElement[bool]:
        """Return the condition that a memory is indexed."""
        ...

    def state(self, store: Store) -> tuple[int, int]:
        """Return how many memories there are, and how many texts are indexed, both as of the same moment."""
        ...

    def search(self, store: Store, scope: Scope, query: str, limit: int, kinds: Collection[str], now: float) -> Hits:
        """Return the best memories, and the words by which they were found.

        Args:
            store: The database.
            scope: Whose memories.
            query: Any text.
            limit: So many at most.
            kinds: Only these; empty for all.
            now: Seconds since 1970.
        """
        ...


class Fts5:
    """The index of SQLite: a table without content, whose words carry their scope in front."""

    def put(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Index texts that are not indexed yet."""
        statement = text("INSERT INTO memory_text (rowid, body) VALUES (:number, :body)")
        if entries:
            connection.execute(statement, [_entry(entry) for entry in entries])

    def remove(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Forget texts; one that is not indexed is passed over."""
        # FTS5 is told what was indexed; to remove what never was would damage it
        there = text("SELECT id FROM memory_text_docsize WHERE id IN :numbers")
        there = there.bindparams(bindparam("numbers", expanding=True))
        found = {row.id for row in connection.execute(there, {"numbers": [entry[0] for entry in entries]})}
        statement = text("INSERT INTO memory_text (memory_text, rowid, body) VALUES ('delete', :number, :body)")
        if gone := [_entry(entry) for entry in entries if entry[0] in found]:
            connection.execute(statement, gone)

    def renew(self, connection: Connection) -> None:
        """Make the index anew and empty, whatever is left of it."""
        _renew(connection)

    def indexed(self) -> ColumnElement[bool]:
        """Return the condition that a memory is indexed."""
        return select(_SIZES.c.id).where(_SIZES.c.id == memories.c.number).exists()

    def state(self, store: Store) -> tuple[int, int]:
        """Return how many memories there are, and how many texts are indexed."""
        return _state(store, select(func.count()).select_from(_SIZES))

    def search(self, store: Store, scope: Scope, query: str, limit: int, kinds: Collection[str], now: float) -> Hits:
        """Return the best memories, and the words by which they were found."""
        mark, items, words = _mark(scope), _count(store, scope), []
        for word in _words(query):
            asked = {"match": f'"{mark}{word}"', "most": MAX_HITS}
            # bm25() weighs a word by how rare it is in the whole table: that part is the same in all of its scores,
            # and falls out in the shares
            words.append(_word(items, [tuple(row) for row in store.read(_BY_WORD.params(asked))]))
        return _hits(store, words, scope, limit, kinds, now)


class Tsvector:
    """The index of PostgreSQL: lexemes with their places, and the scope as one more lexeme."""

    def put(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Index texts that are not indexed yet."""
        statement = text(
            "INSERT INTO memory_text (memory, body) VALUES "
            "(:number, to_tsvector('english', :body) || array_to_tsvector(ARRAY[CAST(:mark AS text)])) "
            "ON CONFLICT (memory) DO NOTHING"
        )
        rows = [{"number": number, "body": body, "mark": _mark(scope)} for number, scope, body in entries]
        if rows:
            connection.execute(statement, rows)

    def remove(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Forget texts; one that is not indexed is passed over."""
        connection.execute(delete(_TABLE).where(_TABLE.c.memory.in_([entry[0] for entry in entries])))

    def renew(self, connection: Connection) -> None:
        """Make the index anew and empty, whatever is left of it."""
        _renew(connection)

    def indexed(self) -> ColumnElement[bool]:
        """Return the condition that a memory is indexed."""
        return select(_TABLE.c.memory).where(_TABLE.c.memory == memories.c.number).exists()

    def state(self, store: Store) -> tuple[int, int]:
        """Return how many memories there are, and how many texts are indexed."""
        return _state(store, select(func.count()).select_from(_TABLE))

    def search(self, store: Store, scope: Scope, query: str, limit: int, kinds: Collection[str], now: float) -> Hits:
        """Return the best memories, and the words by which they were found."""
        if not (looked_up := " ".join(_words(query))):
            return Hits()
        items = _count(store, scope)
        asked = {"mark": _mark(scope), "query": looked_up, "most": MAX_HITS}
        by_lexeme = defaultdict[str, list[tuple[int, float]]](list)
        for lexeme, memory, score in map(tuple, store.read(_BY_LEXEME.params(asked))):
            by_lexeme[lexeme] += [(memory, score)] if memory else []
        words = [_word(items, rows) for _, rows in sorted(by_lexeme.items())]
        return _hits(store, words, scope, limit, kinds, now)


_FTS5 = (
    "SELECT rowid AS memory, -bm25(memory_text) AS score FROM memory_text WHERE memory_text MATCH :match LIMIT :most"
)
# the part of BM25 that says how much a word is in a text, with the usual k1 = 1.2 and b = 0.75
_LEXEMES = """
    WITH asked AS MATERIALIZED (
        SELECT lexeme FROM unnest(to_tsvector('english', :query))
    ), hit AS MATERIALIZED (
        SELECT memory, body, length(body) AS size FROM memory_text
        WHERE body @@ (quote_literal(:mark) || ' & (' || (
            SELECT string_agg(quote_literal(lexeme), ' | ') FROM asked) || ')')::tsquery
        LIMIT :most
    ), word AS MATERIALIZED (
        SELECT hit.memory, hit.size, found.lexeme, cardinality(found.positions) AS times
        FROM hit, unnest(hit.body) AS found WHERE found.lexeme IN (SELECT lexeme FROM asked)
    )
    SELECT asked.lexeme, coalesce(word.memory, 0) AS memory, coalesce(
        word.times * 2.2 / (word.times + 1.2 * (0.25 + 0.75 * word.size / (SELECT avg(size) FROM hit))), 0
    )::double precision AS score
    FROM asked LEFT JOIN word USING (lexeme)
"""


# made once: to put them together takes as long as to ask them
_BY_WORD = select(text(_FTS5).columns(memory=Integer, score=Float).subquery("hits"))
_BY_LEXEME = select(text(_LEXEMES).columns(lexeme=Text, memory=Integer, score=Float).subquery("hits"))


def text_index(store: Store) -> TextIndex:
    """Return the index that fits a database."""
    return Tsvector() if store.folder is None else Fts5()


def scan(store: Store, scope: Scope, query: str, limit: int, kinds: Collection[str], now: float) -> Hits:
    """Compare the newest texts of a scope themselves: for when there is no index. As `TextIndex.search`."""
    newest = select(memories.c.number, memories.c.text).where(within(scope)).order_by(memories.c.number.desc())
    said = {row.number: set(content_stems(row.text)) for row in store.read(newest.limit(MAX_HITS))}
    stems = list(dict.fromkeys(content_stems(query)))[:MAX_WORDS]
    words = [_word(len(said), [(number, 1.0) for number, own in said.items() if stem in own]) for stem in stems]
    return _hits(store, words, scope, limit, kinds, now)


def _renew(connection: Connection) -> None:
    for statement in ("DROP TABLE IF EXISTS memory_text", *TEXT_INDEX[connection.dialect.name]):
        connection.exec_driver_sql(statement)


def _state(store: Store, indexed: Select[Any]) -> tuple[int, int]:
    rows = select(func.count()).select_from(memories)
    counts = tuple(store.read(select(rows.scalar_subquery(), indexed.scalar_subquery()))[0])
    return int(counts[0]), int(counts[1])


def _count(store: Store, scope: Scope) -> int:
    return int(store.read(select(func.count()).select_from(memories).where(within(scope)))[0][0])


def _idf(items: int, holding: int) -> float:
    """Return how much a word tells: Robertson and Zaragoza, The Probabilistic Relevance Framework (2009)."""
    return math.log(1 + (max(items, holding) - holding + 0.5) / (holding + 0.5))


def _word(items: int, rows: Sequence[tuple[int, float]]) -> Word:
    """Return a word of a scope with so many items, from the memories that hold it and how much."""
    highest = max((score for _, score in rows), default=0.0)
    return Word(_idf(items, len(rows)), {memory: score / highest for memory, score in rows} if highest > 0 else {})


def _hits(store: Store, words: Sequence[Word], scope: Scope, limit: int, kinds: Collection[str], now: float) -> Hits:
    scores = defaultdict[int, float](float)
    for word in words:
        for memory, share in word.held.items():
            scores[memory] += word.telling * share
    return Hits(_holding(store, scores, scope, limit, kinds, now), tuple(words))


def _holding(
    store: Store, scores: Mapping[int, float], scope: Scope, limit: int, kinds: Collection[str], now: float
) -> dict[int, float]:
    """Return the best scores of memories that are of exactly this scope, hold, and are of the kinds asked for."""
    order = sorted(scores, key=lambda number: (-scores[number], number))
    query = select(memories.c.number).where(within(scope), holds(now))
    if kinds:
        query = query.where(memories.c.kind.in_(sorted(kinds)))
    found: dict[int, float] = {}
    for start in range(0, len(order), PAGE):
        part = order[start : start + PAGE]
        there = {row[0] for row in store.read(query.where(memories.c.number.in_(part)))}
        found |= {number: max(scores[number], 1e-9) for number in part if number in there}
        if len(found) >= limit:
            break
    return dict(list(found.items())[:limit])


def _words(body: str) -> list[str]:
    """Return the first different words of a query that tell something; all of them where none does."""
    words = list(dict.fromkeys(_split(body)))
    return ([word for word in words if word not in COMMON] or words)[:MAX_WORDS]


def _split(body: str) -> list[str]:
    plain = "".join(one for one in unicodedata.normalize("NFKD", body.casefold()) if not unicodedata.combining(one))
    return _WORD.findall(plain)


def _entry(entry: Entry) -> dict[str, Any]:
    number, scope, body = entry
    mark = _mark(scope)
    return {"number": number, "body": " ".join([f"{mark}{word}" for word in _split(body)])}


def _mark(scope: Scope) -> str:
    """Return what stands before each word of a scope: digits alone, so that the stemmer cuts words as it always does.

    Two scopes with the same mark would only share statistics: the query compares the scope itself as well.
    """
    names = "\0".join((scope.tenant, scope.crew, scope.agent, scope.user))
    return f"{int.from_bytes(hashlib.sha256(names.encode('utf-8', 'replace')).digest()[:6]):015d}"
