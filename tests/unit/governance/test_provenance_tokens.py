"""What counts as naming a value, and what never does: tables, and properties over any surrounding text."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.governance.labels import MODEL, OPERATOR, USER, Label, Origin, least
from quarterdeck.governance.origins import MAX_RESULTS, Origins

NAMED = [
    ("Write to bob@x.com.", "bob@x.com"),
    ("Write to Bob <bob@x.com>, please", "bob@x.com"),
    ("(see https://x.com/a?b=1)", "https://x.com/a?b=1"),
    ("host db.example.org: fine", "db.example.org"),
    ("save it as out/report-1.md", "out/report-1.md"),
    ("pay Acme Industries GmbH today", "Acme Industries GmbH"),
    ("refund 140 EUR", 140),
    ("refund 140.00 EUR", 140),
    ("refund EUR140", 140.0),
    ("refund \u20ac140.", "140.00"),
    ("pay 1,400.00", 1400),
    ("-25 degrees", -25),
    ("order 1182!", "1182"),
    ("\u201corder-7\u201d", "order-7"),
]
NOT_NAMED = [
    ("refund 140", 14),
    ("refund 140", "14"),
    ("refund 140", 40),
    ("refund 140.5", 140),
    ("refund 14.0.1", 14),
    ("room 12-140", 140),
    ("140%", 140),
    ("#1182", 1182),
    ("1e3 items", 1000),
    ("0x8c things", 140),
    ("0140", 140),
    ("1,400", 1400),  # another number to whoever writes decimals with a comma
    ("1.400", 1400),
    ("1.400", 1.4),
    ("\uff11\uff14\uff10", 140),  # full-width digits
    ("-140", 140),
    ("140", -140),
    ("140", float("nan")),
    ("bob@x.com.evil.net", "bob@x.com"),
    ("bob@x.com@evil.net", "bob@x.com"),
    ("notbob@x.com", "bob@x.com"),
    ("bob@x.com", "bob@x.com.evil.net"),
    ("bob@x.com", "x.com"),
    ("notevil.com", "evil.com"),
    ("evil.com.au", "evil.com"),
    ("https://good.com/?next=evil.com", "evil.com"),
    ("https://good.com@evil.com/", "good.com"),
    ("https://good.com/a", "https://good.com/"),
    ("https://good.com/a", "https://good.com/a/../b"),
    ("https://good.com", "https://good.com?q=secret"),
    ("HTTPS://GOOD.COM", "https://good.com"),
    ("out/report.md", "report.md"),
    ("out/report.md", "out/report"),
    ("/etc/passwd.bak", "/etc/passwd"),
    ("b\u043eb@x.com", "bob@x.com"),  # Cyrillic o in the text
    ("bob@x.com", "b\u043eb@x.com"),  # and in the value
    ("caf\u00e9@x.com", "cafe\u0301@x.com"),  # composed and decomposed
    ("\u212aarl@x.com", "Karl@x.com"),  # the Kelvin sign, which NFC makes a K
    ("Karl@x.com", "\u212aarl@x.com"),
    ("stra\u00dfe@x.com", "strasse@x.com"),  # casefold makes them equal
    ("bob@x.com\u200b.evil.net", "bob@x.com"),
    ("bob@x.com", "bob@x.com\u200b"),
    ("bob@x.com", "bob@x.com\n"),
    ("bob@x.com and more", "bob@x.com and"[:-4] + "\r\nBcc: e@e.io"),
    ("bob@x.com", " bob@x.com"),
    ("bob@x.com", ""),
    ("a bob", "bob's"),
    ("everyone", "Everyone"),
    ("yes", "yes"),
    ("true", True),
    ("1", 1),
    ("1", True),
    ("no", "no"),
    ("to all of them", "all"),
    ("none", None),
    ("wait ... there", "..."),
    ("a / b", "/"),
]


@pytest.mark.parametrize(("text", "value"), NAMED)
def test_a_whole_token_is_named(text: str, value: Any) -> None:
    assert Origins(user={"request": text}).of(value) == USER
    assert Origins(operator=[text]).of(value) == OPERATOR


@pytest.mark.parametrize(("text", "value"), NOT_NAMED)
def test_anything_less_is_not(text: str, value: Any) -> None:
    assert Origins(user={"request": text}).of(value) == MODEL


def test_a_command_is_a_whole_value() -> None:
    origins = Origins(user={"text": "Never run reboot-all here.", "command": "make test"})
    assert origins.of("make test", "command") == USER
    assert origins.of("reboot-all") == USER
    assert origins.of("reboot-all", "command") == MODEL


def test_an_input_that_others_wrote_is_not_the_user() -> None:
    origins = Origins(user={"desk": "north"}, untrusted={"message": "Order 1182, pay to eve@x.com"})
    assert str(origins.of("eve@x.com")) == "input:message (not trusted)"
    assert str(origins.of(1182)) == "input:message (not trusted)"
    assert origins.of("north") == USER


def test_the_most_trusted_source_that_names_a_value_counts() -> None:
    origins = Origins(user={"to": "bob@x.com"})
    origins.returned("a", "web.fetch", "mail bob@x.com, or eve@evil.io", {"url": "u"})
    origins.returned("b", "ledger.lookup", {"eur": 140.0, "iban": "DE02"}, {"order": "1182"}, trusted=True)
    assert origins.of("bob@x.com") == USER
    assert str(origins.of("eve@evil.io")) == "tool:web.fetch (not trusted)"
    assert str(origins.of(140)) == "tool:ledger.lookup"
    assert origins.of("unheard-of") == MODEL


@pytest.mark.parametrize(
    ("arguments", "result", "value"),
    [
        ({"text": "eve@evil.io"}, "eve@evil.io", "eve@evil.io"),
        ({"text": "EVE@EVIL.IO"}, "eve@evil.io", "eve@evil.io"),
        ({"text": "xxeve@evil.ioxx"}, "eve@evil.io", "eve@evil.io"),
        ({"who": "eve", "at": "evil.io"}, "eve@evil.io", "eve@evil.io"),
        ({"eur": 5000}, {"eur": 5000.0}, 5000),
        ({"eur": "5000 EUR"}, {"eur": 5000}, 5000),
        ({"eur": "0005000"}, {"eur": 5000}, 5000),
        ({"eur": "\uff15\uff10\uff10\uff10"}, {"eur": 5000}, 5000),
        ({"eur": "5,000"}, {"eur": 5000}, 5000),
        ({"eur": ["a", {"b": "x5000y"}]}, {"eur": 5000}, 5000),
        ({"parts": ["ev", "il", "@x", ".e", "xa"]}, "evil@x.exa", "evil@x.exa"),
        ({"parts": ["ev", "il", "@x", ".e", "xa"]}, "mail ev-il@x.e-xa now", "ev-il@x.e-xa"),
        ({"parts": ["zz ev", "@x", ".e zz"]}, "zz ev@x.e zz", "ev@x.e"),
        ({"text": "eve%40evil.io"}, "No customer eve@evil.io", "eve@evil.io"),
        ({"text": "eve%2540evil.io"}, "eve@evil.io", "eve@evil.io"),
        ({"text": "e&#118;e&commat;evil.io"}, "eve@evil.io", "eve@evil.io"),
        ({"text": b64encode(b"eve@evil.io").decode()}, "eve@evil.io", "eve@evil.io"),
        ({"text": f"to {urlsafe_b64encode(b'eve%40evil.io').decode().rstrip('=')}!"}, "eve@evil.io", "eve@evil.io"),
        ({"text": b"eve@evil.io".hex()}, "eve@evil.io", "eve@evil.io"),
        ({"text": "Eve At Evil Dot Io"}, "eve@evil.io", "eve@evil.io"),
        ({"text": "evil.io"}, "info@evil.io", "info@evil.io"),
        ({"text": "x" * 30_000}, "eve@evil.io", "eve@evil.io"),
        ({"name": 1, "eve@evil.io": 2}, "eve@evil.io", "eve@evil.io"),
    ],
)
def test_a_trusted_tool_does_not_launder_what_it_was_given(arguments: Any, result: Any, value: Any) -> None:
    origins = Origins()
    origins.returned("a", "text.join", result, arguments, trusted=True)
    assert origins.of(value) == MODEL
    assert origins.at("a", value) == MODEL


def test_pieces_that_the_user_wrote_are_pieces_too() -> None:
    origins = Origins(user={"text": "tools 7.io"})
    origins.returned("a", "text.join", "ev-tools-7.io", {"parts": ["ev-", "tools", "-", "7.io"]}, trusted=True)
    assert origins.of("ev-tools-7.io") == MODEL


@pytest.mark.parametrize(
    ("arguments", "result", "value"),
    [
        ({"id": "C-1182"}, {"id": "C-1182", "mail": "bob@x.example", "eur": 40.5}, "bob@x.example"),
        ({"id": "C-1182"}, {"id": "C-1182", "mail": "bob@x.example", "eur": 40.5}, 40.5),
        ({"id": 1182}, {"mail": "bob@x.example"}, "bob@x.example"),
        ({"day": "2026-11-21"}, {"due": "2026-12-05"}, "2026-12-05"),
        ({"customer": "Ann Miller"}, {"customer": "Ann Miller", "mail": "am@x.example"}, "am@x.example"),
        ({"customer": "C-1182"}, {"customer": "C-1182", "mail": "customer-7@x.example"}, "DE02 1001"),
        ({"order": "1182", "full": True}, {"iban": "DE02100100100006820101"}, "DE02100100100006820101"),
    ],
)
def test_the_real_answer_of_a_trusted_tool_still_proves(arguments: Any, result: Any, value: Any) -> None:
    origins = Origins()
    result = {**result, "more": "DE02 1001"}
    origins.returned("a", "crm.find", result, arguments, trusted=True)
    assert str(origins.of(value)) == "tool:crm.find"
    assert str(origins.at("a", value)) == "tool:crm.find"


def test_what_the_user_gave_a_trusted_tool_spoils_nothing() -> None:
    origins = Origins(user={"name": "Robert"})
    origins.returned("a", "crm.find", {"email": "Robert@x.com"}, {"name": "Robert"}, trusted=True)
    assert str(origins.of("Robert@x.com")) == "tool:crm.find"


@pytest.mark.parametrize("status", ["error", "unverified", "unknown"])
def test_what_failed_proves_nothing(status: Any) -> None:
    origins = Origins()
    origins.returned("a", "ledger.lookup", "no order at eve@evil.io", {}, status=status, trusted=True, sensitive=True)
    assert not origins.of("eve@evil.io").trusted
    assert origins.sensitive


def test_what_never_ran_tells_nothing() -> None:
    origins = Origins()
    origins.returned("a", "crm.read", "x", {}, status="denied", sensitive=True)
    assert not origins.sensitive


def test_what_is_kept_is_bounded() -> None:
    origins = Origins()
    for number in range(MAX_RESULTS + 10):
        origins.returned(str(number), "ledger.lookup", {"iban": f"DE{number:04}"}, {}, trusted=True)
    assert not origins.of("DE0001").trusted
    assert origins.of(f"DE{MAX_RESULTS:04}").trusted
    origins.returned("big", "web.fetch", "x" * 20_000_000, {})
    assert not origins.of(f"DE{MAX_RESULTS:04}").trusted


def test_labels_survive_memory_and_are_never_better_for_it() -> None:
    origins = Origins(user={"address": "bob@x.com"})
    origins.returned("a", "crm.read", "secret of eve@evil.io", {}, sensitive=True)
    for value, trusted, sensitive in (("bob@x.com", True, False), ("eve@evil.io", False, True), ("other", False, True)):
        label = origins.label({"note": value})
        assert label.origin.trusted is False  # the key `note` is the model's
        label = origins.label(value)
        assert (label.origin.trusted, label.sensitive) == (trusted, sensitive)
        later = Origins()
        later.remember(f"said: {value}", Label.from_data(label.as_data()))
        assert later.of(value).trusted is trusted
        assert later.of(value).kind in ("memory", "model")
        assert bool(later.sensitive) is sensitive
    assert Label.from_data(None) == Label(MODEL, sensitive=True)


@pytest.mark.parametrize(
    "origin", [USER, OPERATOR, MODEL, Origin("tool", "a.b", True), Origin("tool", "a.b"), Origin("input", "m")]
)
def test_an_origin_is_read_back_from_its_text(origin: Origin) -> None:
    assert Origin.parse(str(origin)) == origin


@pytest.mark.parametrize("text", ["", "tool", "tool:", "user:bob", "root", "USER", "input:m", "model:x", "person (x)"])
def test_no_other_text_is_a_trusted_origin(text: str) -> None:
    assert not Origin.parse(text).trusted


def test_the_least_trusted_part_counts() -> None:
    web = Origin("tool", "web.fetch")
    assert least([USER, web, MODEL]) == web
    assert least([USER, Origin("tool", "ledger", True)]) == Origin("tool", "ledger", True)
    assert least([USER, MODEL]) == MODEL


word = st.text("abcdefghijklmnop", min_size=3, max_size=8)
attack = st.one_of(
    st.builds("{}@evil-{}.example".format, word, word),
    st.builds("https://evil-{}.example/{}".format, word, word),
    st.builds("evil-{}.example".format, word),
    st.builds("/srv/evil-{}/{}.sh".format, word, word),
    st.builds("evil{}{}".format, word, st.integers(10, 99)),
)
glue = st.text("abcxyz0189-_/@%&=+~^\u0430\u200b\u0301", min_size=1, max_size=6)
blank = st.sampled_from([" ", "\n", "\t", ", ", ". ", " (", ") ", ' "', '" ', " <", "> ", ": "])


@st.composite
def texts_around(draw: st.DrawFn, value: str) -> str:
    """Draw a text in which a value stands only as a part of something, or changed."""
    others = ("\u0435", "e\u0301", "\uff45", "e\u00ad")
    changed = st.sampled_from(
        [value.upper(), value[1:], value[:-1], value[::-1], *(value.replace("e", other) for other in others)]
    )
    pieces = draw(
        st.lists(
            st.one_of(
                word,
                changed,
                st.builds(lambda a: a + value, glue),
                st.builds(lambda a: value + a, glue),
                st.builds(lambda a, b: a + value + b, glue, glue),
                st.builds(lambda a: f"{value}.{a}", word),
                st.builds(lambda a: f"{value},{a}", word),
            ),
            max_size=12,
        )
    )
    return "".join(piece + draw(blank) for piece in pieces)


@given(st.data(), attack)
def test_no_value_of_others_is_ever_the_users_whatever_stands_around(data: st.DataObject, value: str) -> None:
    text = data.draw(texts_around(value))
    origins = Origins(user={"request": text, "more": [text, {"deep": text}]}, operator=[text])
    origins.returned("a", "ledger.lookup", {"note": text, "list": [text]}, {}, trusted=True)
    origins.returned("b", "web.fetch", f"{text} {value} {text}", {})
    for kind in ("recipient", "url", "path", "command", "other"):
        assert str(origins.of(value, kind)) == "tool:web.fetch (not trusted)"


def cut(value: str, places: list[int]) -> list[str]:
    ends = sorted({0, len(value), *(place % len(value) for place in places)})
    return [value[first:last] for first, last in pairwise(ends)]


WRITINGS: list[Callable[[str], str]] = [
    str, str.upper, str.title, quote, lambda text: quote(quote(text)), lambda text: text.replace("@", "%40"),
    lambda text: "".join(f"%{ord(one):02X}" for one in text), lambda text: "".join(f"&#{ord(one)};" for one in text),
    lambda text: b64encode(text.encode()).decode(), lambda text: urlsafe_b64encode(text.encode()).decode().rstrip("="),
    lambda text: quote(b64encode(text.encode()).decode()), lambda text: text.encode().hex(),
    lambda text: b64encode(quote(text).encode()).decode(),
]  # fmt: skip


@given(attack, st.sampled_from(WRITINGS), st.lists(st.integers(0, 500), max_size=8), st.booleans(), blank)
def test_no_trusted_tool_lends_its_name_to_what_it_was_given_whatever_it_makes_of_that(
    value: str, write: Callable[[str], str], places: list[int], cut_first: bool, between: str
) -> None:
    parts = [write(part) for part in cut(value, places)] if cut_first and write in (str, quote) else [write(value)]
    parts = parts if cut_first else cut(parts[0], places)
    for given_so in ({"parts": parts}, {f"p{number}": part for number, part in enumerate(parts)}):
        origins = Origins(user={"request": "Look it up."})
        origins.returned("a", "text.make", {"said": f"It is{between}{value}{between}today"}, given_so, trusted=True)
        origins.returned("b", "text.make", {"said": value}, given_so, trusted=True)
        for kind in ("recipient", "url", "path", "command", "other"):
            assert not origins.of(value, kind).trusted
        assert origins.at("b", value) == MODEL


key = st.one_of(
    st.builds("{}-{}".format, st.sampled_from(["C", "ord", "ID"]), st.integers(10, 99_999)),
    st.integers(10, 99_999),
    st.builds("2026-{:02}-{:02}".format, st.integers(1, 12), st.integers(1, 28)),
)
answer = st.builds("{}.{}@shop.example".format, word, word)


@given(st.dictionaries(st.sampled_from(["customer", "order", "day"]), key, min_size=1), answer)
def test_whatever_key_an_agent_looks_up_the_address_that_stands_there_is_proven(keys: dict[str, Any], to: str) -> None:
    origins = Origins()
    origins.returned("a", "crm.find", {**keys, "mail": to}, keys, trusted=True)
    assert str(origins.of(to, "recipient")) == "tool:crm.find"


MONEY = [
    ("pay 40 euros", 40), ("Refund 40 EUR of order 118200 to bob", 40), ("refund $40!", 40), ("refund 40\u20ac", 40),
    ("40,00 EUR", 40), ("it was EUR 40", 40), ("EUR40.", 40.0), ("(40.50 EUR)", "40.50"), ("1.400,00 EUR", 1400),
    ("USD 1,400.00", 1400), ("order 118200, EUR 40", 40), ("40 EUR, then 50 USD", 50), ("US$40", 40),
    ("CHF 40.5", 40.5), ("40", 40), ("40.00", "40"), ("-40 EUR", -40), ("Total: 40 EUR\n118200 is the order", 40),
    ("40 dollars", 40),
]  # fmt: skip
NO_MONEY = [
    ("Refund 40 EUR of order 118200 to bob", 118200), ("Refund 40 EUR of order 118200 to bob", "118200"),
    ("refund 140", 140), ("order 118200, EUR 40", 118200), ("Total: 40 EUR\n118200 is the order", 118200),
    ("order 118200 EUR 40", 118200), ("40 EUR 300 times", 300), ("1,400 EUR", 1400), ("1.400 EUR", 1.4),
    ("40 EURO-pallets", 40), ("12 for all", 12), ("pay all 118200", 118200), ("40 % of it", 40), ("room 40. EUR", 40),
    ("40,000 EUR", 40), ("40 EUR", 4000), ("\uff14\uff10 EUR", 40), ("40 \u0395UR", 40),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), MONEY)
def test_an_amount_stands_beside_its_currency(text: str, value: Any) -> None:
    assert Origins(user={"request": text}).of(value, "amount") == USER
    assert Origins(operator=[text]).of(value, "amount") == OPERATOR


@pytest.mark.parametrize(("text", "value"), NO_MONEY)
def test_another_number_of_a_text_is_no_amount(text: str, value: Any) -> None:
    origins = Origins(user={"request": text}, operator=[text])
    origins.returned("a", "ledger.note", {"note": text}, {}, trusted=True)
    assert origins.of(value, "amount") == MODEL


def test_a_number_by_itself_is_an_amount_and_in_a_text_it_is_still_a_number() -> None:
    origins = Origins(user={"eur": 140, "days": "30", "request": "Order 118200."})
    origins.returned("a", "ledger.find", {"open": 77.5, "note": "invoice 99"}, {}, trusted=True)
    for value, said in ((140.0, "user"), (30, "user"), (77.5, "tool:ledger.find"), (118200, "model"), (99, "model")):
        assert str(origins.of(value, "amount")).startswith(said)
    assert origins.of(118200) == origins.of("118200", "other") == USER


FORMS = ["{n}{d}", "{d}{n}", "{n}.{d}", "#{n}", "{n}%", "{n}-{d}", "v{n}", "{n}x"]


@given(st.integers(10, 10**9), st.sampled_from(FORMS), st.integers(1, 99))
def test_no_number_of_others_is_ever_the_users(number: int, form: str, digits: int) -> None:
    text = f"It is {form.format(n=number, d=digits)} today."
    origins = Origins(user={"request": text})
    origins.returned("b", "web.fetch", {"eur": number}, {})
    for value in (number, float(number), str(number), f"{number}.00"):
        assert not origins.of(value, "amount").trusted


values = st.one_of(word, attack, st.integers(-200, 2000), st.floats(0, 500).map(lambda number: round(number, 2)))
results = st.tuples(st.sampled_from(["t.one", "t.two"]), st.lists(values, max_size=4), st.booleans(), st.booleans())


def origins_after(said: list[Any], calls: list[Any]) -> Origins:
    origins = Origins(user=said)
    for number, (tool, value, trusted, sensitive) in enumerate(calls):
        origins.returned(str(number), tool, value, {"q": "asked"}, trusted=trusted, sensitive=sensitive)
    return origins


@given(st.lists(values, max_size=5), st.lists(results, max_size=5), st.lists(values, max_size=5), values)
def test_what_is_not_trusted_never_raises_trust(said: list[Any], calls: list[Any], more: list[Any], value: Any) -> None:
    before, after = origins_after(said, calls), origins_after(said, calls)
    after.returned("late", "web.fetch", more, {})
    after.returned("later", "web.fetch", [f"{one} {value}" for one in more], {})
    after.remember(more, Label(MODEL))
    for one in (value, *said, *more):
        assert after.of(one).trusted <= before.of(one).trusted
        assert least([before.of(one), after.of(one)]) == after.of(one) or not after.of(one).trusted


@given(st.lists(values, max_size=5), st.lists(results, max_size=6), st.lists(values, max_size=5))
def test_rebuilt_from_the_same_results_every_label_is_equal(said: Any, calls: Any, asked: Any) -> None:
    first, again = origins_after(said, calls), origins_after(said, calls)
    for number, (tool, value, trusted, sensitive) in enumerate(calls):  # and a replay that returns them once more
        again.returned(str(number), tool, value, {"q": "asked"}, trusted=trusted, sensitive=sensitive)
    assert [first.of(value) for value in asked] == [again.of(value) for value in asked]
    assert first.sensitive == again.sensitive
