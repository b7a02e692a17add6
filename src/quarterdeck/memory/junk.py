"""Junk: what looks like a memory and is none. Most of what an agent could remember is of this sort.

Each rule is a form that was found again and again in stores that nobody gated: small talk, what an agent is doing at
the moment, its own instructions, raw output, sentences that mean nothing out of their place. They read English; text
in other languages passes to the rules that hold for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from quarterdeck.memory.item import Item

MIN_LETTERS = 8
SPOKEN = ("user", "operator")
"""The origins whose word on how to do things is a preference, and no foreign instruction."""

_TALK = (
    r"(?:ok(?:ay)?|sure(?: thing)?|thanks?(?: you)?(?: so much| very much| a lot)?|great(?: question)?|got it|perfect"
    r"|hello|hi|hey|yes|no|bye|goodbye|good (?:morning|evening|night)|understood|will do|done|noted|absolutely"
    r"|of course|you(?:'re| are) welcome|no problem|sounds good|nice|cool|awesome|there|all)"
)
_LEADS = (
    r"(?:i(?:'d| would) be (?:happy|glad)|i hope|let me know|feel free|is there anything|as an ai|i(?:'m| am) (?:an ai"
    r"|a language model|sorry|here to|unable|not able)|i (?:can(?:not|'t)|apologi[sz]e|will now|understand)"
    r"|here(?:'s| is| are)|great question|thank you|certainly|absolutely|let me|let's|please (?:let|note|feel))"
)
_PASSING = (
    r"heartbeat|\bcron\b|\bpolling\b|\bretry(?:ing)?\b|no new (?:messages|mail|tasks|events)|nothing to report"
    r"|exit (?:code|status)|status(?: code)?:? (?:\d{3}|ok)|http (?:status )?\d{3}|tool call|\bturn[ -]\d+"
    r"|(?:is|are|am|'s|'re|'m)(?: currently| now| still)? (?:running|processing|searching|waiting|loading|working on"
    r"|looking|thinking|reading|fetching|checking|being (?:processed|loaded))"
    r"|(?:task|step|job|run|session|search|build|test|tests|command|script|request|call)s? (?:\w+ )?(?:has |have |was"
    r" |were |is |are )?(?:been )?(?:completed|finished|started|succeeded|failed|passed|timed out|cancelled|queued)"
    r"|\b(?:will|going to) (?:now|next)\b|\bnext step|\bin progress\b|^(?:searched|read|opened|called|wrote|checked"
    r"|fetched|listed) "
)
_OWN = (
    r"^you are (?:an?|the|now)\b|system prompt|\bmy (?:role|instructions|tools|task|goal|job) (?:is|are)\b|^i am an?\b"
    r"|\b(?:assistant|agent|model|bot|ai)(?:'s)? (?:has access|is instructed|was instructed|should|must|can use|is able"
    r"|is configured|is an?\b|role|tools|goal|instructions|persona|uses the|responds|will|offered|suggested|provided"
    r"|greeted|acknowledged|introduced)|\bbackstory\b|\bavailable tools\b|\btools available\b|token limit"
    r"|context window|\bexpected output\b"
)
_ORDER = (
    r"\b(?:ignore|disregard|forget|override) (?:all |any |every |the |your |previous |prior |earlier )+"
    r"|\b(?:you|the assistant|agents?) (?:must|should|have to|need to|are (?:required|allowed|authori[sz]ed))\b"
    r"|^(?:always|never|do not|don't|please|make sure|remember to|be sure|you can)\b"
    r"|\b(?:new|updated) (?:instruction|policy|rule)s?:|\bdo not (?:tell|mention|reveal|ask)\b"
    r"|<\|?(?:im_start|system|endoftext)"
)
_LOOSE = (
    r"^(?:it|this|that|these|those|he|she|they|the (?:above|following|former|latter)|here|there|such|both|another|also"
    r"|however|but|and|so|then)\b"
)
_EMPTY = (
    r"^(?:the )?(?:user|customer|person|human) (?:asked|asks|is asking|wants? to know|wanted to know|said (?:hello|hi"
    r"|thanks)|greeted|is (?:looking for|interested in (?:it|this|help))|inquired|requested (?:help|information)"
    r"|needs? help|mentioned (?:something|it)|has a question|thanked|is (?:here|online|curious))"
    r"|\b(?:various|several|some|many|different|certain) (?:topics|things|questions|issues|aspects|factors|details)\b"
    r"|(?:the )?(?:conversation|discussion|chat|document|report|text|message) (?:was|is|covers?|covered|discusse[sd]"
    r"|contains?|talks?) (?:about|of|on|various|information)?|\bunknown\b"
    r"|\bnot (?:specified|provided|available|stated)\b"
    r"|\bno (?:information|details|data|facts?|further)\b|\bn/a\b|\blorem ipsum\b|\bexample\.com\b|\bjohn doe\b"
    r"|\bplaceholder\b|\btbd\b"
)
_RAW = (
    r"^\s*[{\[<`|]|```|traceback \(most recent|^\s*at \S+\(|^(?:debug|info|warn(?:ing)?|error|trace)\b[\s:\]]"
    r"|^\d{4}-\d\d-\d\d[t ]\d\d:\d\d|^\$ |^>>> |^import \w+|^def \w+\(|;\s*$|=>|\S{120,}|^https?://\S+$|^/\S+$"
)
_SECRET = (
    r"-----begin [a-z ]*private key|\bsk-[a-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[a-z0-9]{20,}"
    r"|\bxox[abprs]-[a-z0-9-]{10,}|\beyj[a-z0-9_-]{10,}\.[a-z0-9_-]{10,}\.|\bbearer [a-z0-9._-]{16,}"
    r"|\b(?:password|passwd|passphrase|api[ _-]?key|secret(?: key)?|access token|pin(?: code)?)\b"
    r"(?: \w+){0,3}?(?: is|:| =|=) ?['\"]?[^\s'\"]{4,}"
)


def _form(pattern: str, *, whole: bool = False) -> Callable[[str], bool]:
    made = re.compile(pattern, re.IGNORECASE)
    return lambda text: bool(made.fullmatch(text) if whole else made.search(text))


_STATE = _form(_PASSING)
_YEAR = re.compile(r"\b(?:19|20)\d\d\b(?!-)")  # what has a year is history, but a time stamp is none
_RULES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("looks like a credential", _form(_SECRET)),
    ("small talk", _form(rf"(?:{_TALK}[\s,.!:)(-]*){{1,8}}|{_LEADS}\b.*", whole=True)),
    ("a question", _form(r".*\?[\s\"')]*", whole=True)),
    ("raw output, no statement", _form(_RAW)),
    ("what the agent is, not what is so", _form(_OWN)),
    ("passing state of the work", lambda text: bool(_STATE(text)) and not _YEAR.search(text)),
    ("says nothing", _form(_EMPTY)),
)
_OUT_OF_PLACE = _form(_LOOSE)
_ORDERS = _form(_ORDER)


def junk(item: Item) -> str:
    """Return why an item is not worth remembering; empty when nothing speaks against it."""
    text = " ".join(item.text.split())
    if sum(letter.isalpha() for letter in text) < (MIN_LETTERS if text.isascii() else MIN_LETTERS // 2):
        return "too short to say anything"
    if item.origin == "memory":
        return "was remembered already"
    for why, applies in _RULES:
        if applies(text):
            return why
    if item.origin not in SPOKEN:  # who says "This year's budget is ..." means it to be remembered so
        if _OUT_OF_PLACE(text):
            return "means nothing out of its place"
        if _ORDERS(text):
            return "an instruction that nobody here gave"
    letters = sum(letter.isalpha() or letter.isspace() for letter in text)
    if letters < 0.6 * len(text):
        return "raw output, no statement"
    words = re.findall(r"\w+", text.lower())
    if len(words) >= 8 and len(set(words)) < 0.4 * len(words):
        return "repeats itself"
    if text.isascii() and len(words) < 3:
        return "too short to say anything"
    return ""
