"""Reports on a terminal: Markdown without boxes and without links that a terminal would follow."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown
from rich.text import Text


class PlainHeading(Heading):
    """A heading in bold at the left, where rich would draw a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the heading."""
        self.text.justify = "left"
        self.text.stylize("bold")
        yield Text("")
        yield self.text


class Report(Markdown):
    """Markdown in our manner."""

    elements: ClassVar[dict[str, Any]] = {**Markdown.elements, "heading_open": PlainHeading}


def rendered(text: str) -> Markdown:
    """Return Markdown for a rich console.

    Args:
        text: Cleaned of control characters.
    """
    return Report(text, hyperlinks=False)
