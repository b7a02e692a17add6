"""The page of tools names every attribute that `@tool` takes, every status, and every class of error."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import get_args

from tests.docs.test_reference import rows

from quarterdeck.journal.events import ToolStatus
from quarterdeck.tools.failures import BROKEN, LOST
from quarterdeck.tools.manifest import Manifest


def test_every_attribute_status_and_class_is_told() -> None:
    told = {name for key in rows("tools.md", "What a tool declares") for name in re.findall(r"\w+", key)}
    assert told == {field.name for field in fields(Manifest)}
    assert set(rows("tools.md", "What became of a call")) == set(get_args(ToolStatus))
    assert set(rows("tools.md", "Classes of error")) == {*BROKEN, *LOST, "tool"}
