"""Finding a quote in the passage that it is said to come from, and telling instructions from content."""

from __future__ import annotations

import re
import unicodedata

MIN_WORDS = 3
MIN_CHARACTERS = 12

_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff*_", ""),
        "\u2026": "...",
        "\ufb00": "ff",
        "\ufb01": "fi",
        "\ufb02": "fl",
        "\ufb03": "ffi",
        "\ufb04": "ffl",
    }
)
_MACHINE = r"(?:ai|a\.i\.|assistants?|language models?|llms?|chat ?bots?|(?:ai|llm) agents?|gpt|claude)"
_UNDO = r"(?:ignore|disregard|forget|override|bypass)"
_ORDER = rf"(?:{_UNDO}|write|say|state|reply|respond|answer|report|output|include|claim)"
_OTHERS = r"(?:previous|prior|above|earlier|preceding|all|any|your|these|other)"
_RULES = r"(?:instruction|prompt|rule|direction|guideline|message|context|source|document|task|order)s?"
_INSTRUCTION = re.compile(
    "|".join(
        (
            rf"\b{_UNDO}\b[^.!?]{{0,40}}\b{_OTHERS}\b[^.!?]{{0,40}}\b{_RULES}\b",
            r"\bsystem (?:prompt|message)\s*:|\b(?:your|reveal|print|show|repeat|leak) (?:\w+ ){0,2}system prompt\b",
            r"\byou (?:must|should|shall|will|are) (?:now|instead|henceforth|from now on)\b|\bfrom now on,? you\b",
            r"\bnew (?:system )?(?:instructions?|task|orders?)\s*:",
            r"\byour (?:new )?(?:instructions?|task|orders?) (?:is|are)\b",
            rf"\b(?:dear|attention|hey|(?:note|notice|message) to|instructions? (?:for|to)) (?:\w+ ){{0,3}}{_MACHINE}",
            rf"\b{_MACHINE}\b[^.!?]{{0,40}}\b(?:must|should|shall|please)\b[^.!?]{{0,20}}\b{_ORDER}\b",
            rf"\b{_MACHINE}\s*[:,]\s*(?:please |you |now )*(?:must |should )?{_ORDER}\b",
            rf"\b{_ORDER}\b[^.!?]{{0,60}}\bin your (?:report|answer|reply|response|output|summary)\b",
            r"\b(?:do not|don't|never) (?:mention|reveal|disclose|cite|tell)\b[^.!?]{0,40}"
            r"\b(?:this|user|reader|anyone|instruction)",
            r"<\|?(?:im_?start|im_?end|system|assistant|user)\|?>|\[/?INST\]|(?:^|\n)\s*(?:system|assistant)\s*:\s",
        )
    ),
    re.IGNORECASE,
)


def find_quote(quote: str, text: str) -> str | None:
    """Return the very words of `text` that a quote repeats, or None when it does not stand there.

    Case, spacing, kinds of quote mark and dash, invisible characters and Markdown's emphasis are passed over in the
    comparison; what comes back is always cut from the text itself, in whole words and numbers.

    Args:
        quote: As a model wrote it.
        text: The passage.
    """
    wanted = _plain(quote)[0].strip(" \"'")
    wanted = re.sub(r"^\.{3}\s*|\s*\.{3}$", "", wanted).strip(" \"'")
    if not wanted:
        return None
    haystack, places = _plain(text)
    for needle in dict.fromkeys((wanted, wanted.rstrip(" .,;:"))):
        at = haystack.find(needle) if needle else -1
        while at >= 0:
            end = at + len(needle)
            if _whole(haystack, at, end):
                return " ".join(text[places[at] : places[end - 1] + 1].split())
            at = haystack.find(needle, at + 1)
    return None


def is_long_enough(quote: str) -> bool:
    """Say whether a quote is long enough to prove anything."""
    return len(quote) >= MIN_CHARACTERS and len(quote.split()) >= MIN_WORDS


def paragraph_around(quote: str, text: str) -> str:
    """Return the paragraph of a text in which a quote stands; all of the text if it spans several."""
    for paragraph in re.split(r"\n\s*\n", text):
        if find_quote(quote, paragraph) is not None:
            return paragraph
    return text


def gives_orders(text: str) -> bool:
    """Say whether a text speaks to whoever reads it as an assistant: an instruction that was planted."""
    plain = unicodedata.normalize("NFKC", text).translate(_SAME)
    return bool(_INSTRUCTION.search(re.sub(r"[ \t\r]*\n(?!\s*(?:system|assistant)\s*:)[ \t]*", " ", plain)))


def _plain(text: str) -> tuple[str, list[int]]:
    """Return a text in its plainest form, and for each of its characters the place it comes from."""
    plain: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        written = " " if letter.isspace() else letter.translate(_SAME).lower()
        if written == " " and plain and plain[-1] == " ":
            continue
        for part in written:
            plain.append(part)
            places.append(place)
    return "".join(plain), places


def _whole(text: str, start: int, end: int) -> bool:
    """Say whether a stretch begins and ends with whole words and whole numbers: `5` is not in `1.5`, `-5` or `5%`."""
    before, after = text[:start][-2:], text[end : end + 2]
    first, last = text[start], text[end - 1]
    if first.isalnum() and before[-1:].isalnum():
        return False
    if first.isdigit() and re.search(r"(?:\d[.,]|(?:^|\W)-|[$\u20ac\u00a3])$", before):
        return False
    if last.isalnum() and after[:1].isalnum():
        return False
    return not (last.isdigit() and re.match(r"[.,]\d|%|\s%", after))
