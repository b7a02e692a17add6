"""`quarterdeck models`: which models there are, getting weights, and one tiny call to see that a model answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli import options
from quarterdeck.errors import ModelError, QuarterdeckError

if TYPE_CHECKING:
    from quarterdeck.cli.weights import Source
    from quarterdeck.models.catalog import Catalog, ModelListing
    from quarterdeck.models.port import ModelReply
    from quarterdeck.spec.models import RateSpec

app = options.make_app("List, fetch and test models.")
TEST_SECONDS = 120.0


@app.command("list")
def list_models(json: options.Json = False) -> None:
    """List the models of config/models.yaml: groups, what each needs, context and price."""
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    listings = _catalog().describe()
    if json:
        screen.data([_as_object(listing) for listing in listings])
    else:
        screen.columns([_row(listing) for listing in listings])


@app.command("pull")
def pull_model(
    name: Annotated[str, typer.Argument(help="An embedded model, such as local, or known weights.")],
    source: Annotated[
        str, typer.Option("--from", metavar="SOURCE", help="hugging-face, mirror, or the path of a GGUF file.")
    ] = "auto",
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Bring the weights of an embedded model to this machine; accepted only if their SHA-256 is the known one."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.cli.text import size
    from quarterdeck.cli.weights import consents, pull
    from quarterdeck.models.weights import find, installed

    screen = Screen()
    known = find(_weights_of(name))
    origin: Source = source if source in ("auto", "hugging-face", "mirror") else Path(source).expanduser()  # type: ignore[assignment]
    path = installed(known.name)
    fetched = path is None
    if path is None:
        is_file = isinstance(origin, Path)
        if not (yes or is_file or (screen.terminal and not json and consents(known.name))):
            raise ModelError(
                f"{known.name} is {size(known.bytes)}; nothing was fetched. "
                f"Agree with: quarterdeck models pull {name} --yes",
                "no_weights",
            )
        path = pull(known.name, origin, screen, quiet=json)
    if json:
        facts = {"weights": known.name, "path": str(path), "bytes": known.bytes, "sha256": known.sha256}
        screen.data({**facts, "fetched": fetched})
    else:
        state = "is here" if fetched else "was here already"
        screen.line(f"{known.name} {state}: {path}, {size(known.bytes)}, SHA-256 verified.")


@app.command("test")
def test_model(
    model: Annotated[str, typer.Argument(help="A model or group; by default the default one.")] = "",
    json: options.Json = False,
) -> None:
    """Make one tiny real call and show what it took."""
    import asyncio
    import time

    from quarterdeck.cli.screen import Screen
    from quarterdeck.cli.text import count, duration, money, one_line
    from quarterdeck.cli.weights import missing, missing_line

    catalog = _catalog()
    resolved = catalog.resolve(model)
    if missing(resolved):
        raise ModelError(missing_line(resolved), "no_weights")
    started = time.monotonic()
    reply = asyncio.run(_ask(catalog, resolved.name))
    seconds = time.monotonic() - started
    used = reply.usage.prompt_tokens + reply.usage.completion_tokens
    screen = Screen()
    if json:
        screen.data({
            "model": resolved.name, "text": reply.text, "tokens": used, "seconds": round(seconds, 3),
            "cost_usd": None if reply.cost_usd is None else float(reply.cost_usd),
        })  # fmt: skip
    else:
        screen.line(f"{resolved.label} answers: {one_line(reply.text, 200)}")
        screen.line(f"{count(used, 'token')}   {duration(seconds)}   {money(reply.cost_usd)}")


async def _ask(catalog: Catalog, name: str) -> ModelReply:
    """Ask the provider itself: there is no run to which the call belongs, so there is no journal for it."""
    import asyncio

    from quarterdeck.models.port import Message, ModelRequest

    request = ModelRequest(name, (Message("user", "Answer with the one word: ready"),), max_tokens=16)
    try:
        async with asyncio.timeout(TEST_SECONDS):
            return await catalog.provider(name).answer(request)
    except TimeoutError:
        raise ModelError(f"{name} did not answer within {TEST_SECONDS:g} s.", "timeout") from None
    finally:
        await catalog.close()


def _catalog() -> Catalog:
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.load import load_models
    from quarterdeck.spec.workspace import Workspace

    return Catalog(load_models(Workspace.find()))


def _weights_of(name: str) -> str:
    """Return the weights that a model of the configuration uses; any other name is that of weights itself."""
    try:
        resolved = _catalog().resolve(name)
    except QuarterdeckError:
        return name
    return resolved.weights or name


def _row(listing: ModelListing) -> tuple[str, ...]:
    from quarterdeck.cli.text import size
    from quarterdeck.cli.weights import missing

    model = listing.model
    if model.kind == "embedded":
        from quarterdeck.models.weights import find

        state = f"weights missing ({size(find(model.weights).bytes)})" if missing(model) else "weights here"
    else:
        names = " or ".join(model.key_names[:2])
        state = {"set": "key set", "missing": f"no key ({names})", "none needed": "no key needed"}[listing.key]
    said = ([] if model.pinned else ["not pinned"]) + ([_rate(listing.rate)] if listing.rate else [])
    return model.name, ", ".join(listing.groups), state, f"{model.context} tokens", _price(listing), ", ".join(said)


def _rate(rate: RateSpec) -> str:
    told = [(rate.requests, "requests"), (rate.tokens, "tokens")]
    return " and ".join(f"{number:,} {what}" for number, what in told if number) + f" a {rate.per}"


def _price(listing: ModelListing) -> str:
    price = listing.model.price
    if price is None:
        return "price unknown"
    if price.free:
        return "free"
    if price.request:
        return f"${float(price.request):g} a request"
    return f"${float(price.input) * 1e6:g} in, ${float(price.output) * 1e6:g} out per million tokens"


def _as_object(listing: ModelListing) -> dict[str, Any]:
    from quarterdeck.cli.weights import missing

    model = listing.model
    price = model.price
    return {
        "name": model.name, "kind": model.kind, "groups": list(listing.groups), "key": listing.key,
        "key_names": list(model.key_names), "context": model.context, "json_schema": model.supports_schema,
        "pinned": model.pinned, "rate": listing.rate.model_dump() if listing.rate else None,
        "weights": model.weights or None, "weights_here": None if model.kind != "embedded" else not missing(model),
        "usd_per_million": None if price is None else {
            "input": float(price.input) * 1e6, "output": float(price.output) * 1e6,
        },
    }  # fmt: skip
