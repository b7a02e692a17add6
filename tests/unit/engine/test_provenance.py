"""Provenance in whole runs: under a plan the flow is known, and an input that others wrote is not the user's word."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.conftest import AGENT, MakeCrew
from tests.unit.governance.test_provenance import described

from quarterdeck.journal.events import ToolCalled
from quarterdeck.spec.governance import GovernanceConfig, PolicyRule
from quarterdeck.testing import ScriptedModel, answer, text
from quarterdeck.testing import tool_calls as calls  # noqa: F401
