"""Bar charts: as lines of text for any terminal or file, and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from quarterdeck.cli.text import clean, one_line

MAX_BARS = 50
_LABEL = 30
_EIGHTHS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589"
_FULL = "\u2588"

# The colours follow the reader's setting; they keep a contrast of 4.5 or more on white and on dark grey.
_STYLE = """\
    svg { color-scheme: light dark; }
    text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2328; }
    .title { font-weight: 600; font-size: 15px; }
    .bar { fill: #1f6feb; }
    .back { fill: #ffffff; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; } .bar { fill: #58a6ff; } .back { fill: #0d1117; }
    }"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        label: What it stands for.
        value: Its length; 0 or more, None when it is not known.
        shown: The value as people read it.
    """

    label: str
    value: float | None
    shown: str


def bars(chart: Sequence[Bar], *, width: int = 80, unicode: bool = True) -> list[str]:
    """Return a bar chart as lines.

    Args:
        chart: The bars; at most 50 are drawn.
        width: Columns at most.
        unicode: Whether more than ASCII can be shown.
    """
    drawn = chart[:MAX_BARS]
    names = [one_line(bar.label, _LABEL) for bar in drawn]
    labels = max(map(len, names), default=0)
    figures = max((len(bar.shown) for bar in drawn), default=0)
    room = max(width - labels - figures - 4, 5)
    longest = max((bar.value or 0.0 for bar in drawn), default=0.0)
    return [
        f"{name.ljust(labels)}  {_line(bar, longest, room, unicode)}  {bar.shown.rjust(figures)}"
        for name, bar in zip(names, drawn, strict=True)
    ]


def _line(bar: Bar, longest: float, room: int, unicode: bool) -> str:
    if bar.value is None:
        return "?".ljust(room)
    share = bar.value / longest if longest > 0 else 0.0
    if not unicode:
        return ("#" * round(share * room)).ljust(room)
    whole, rest = divmod(round(share * room * 8), 8)
    return (_FULL * whole + (_EIGHTHS[rest] if rest else "")).ljust(room)


def svg(chart: Sequence[Bar], *, title: str, description: str) -> str:
    """Return a bar chart as a SVG file that screen readers can read and that suits light and dark pages.

    Args:
        chart: The bars; at most 50 are drawn.
        title: What it shows.
        description: The same for those who cannot see it; the values are added.
    """
    drawn = chart[:MAX_BARS]
    longest = max((bar.value or 0.0 for bar in drawn), default=0.0)
    height = 56 + 26 * max(len(drawn), 1)
    told = "; ".join(f"{bar.label}: {bar.shown}" for bar in drawn) or "no data"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" viewBox="0 0 760 {height}">',
        f'  <title id="title">{_xml(title)}</title>',
        f'  <desc id="desc">{_xml(f"{description} {told}.")}</desc>',
        f"  <style>\n{_STYLE}\n  </style>",
        f'  <rect class="back" width="760" height="{height}"/>',
        f'  <text class="title" x="16" y="28">{_xml(title)}</text>',
    ]
    for number, bar in enumerate(drawn):
        y = 46 + 26 * number
        length = 380 * (bar.value or 0.0) / longest if longest > 0 else 0.0
        lines += [
            f'  <text x="200" y="{y + 14}" text-anchor="end">{_xml(one_line(bar.label, 28))}</text>',
            f'  <rect class="bar" x="208" y="{y}" width="{length:.1f}" height="18" rx="2"/>',
            f'  <text x="{216 + length:.1f}" y="{y + 14}">{_xml(bar.shown)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _xml(text: str) -> str:
    """Return text as XML can hold it: escaped, and without what no XML may contain."""
    plain = "".join(letter for letter in clean(text) if letter not in "\ufffe\uffff" and not _lonely(letter))
    return escape(plain, quote=True)


def _lonely(letter: str) -> bool:
    """Whether a letter is half of a surrogate pair, which no encoding can write."""
    return "\ud800" <= letter <= "\udfff"
