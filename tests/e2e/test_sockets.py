"""A run opens no socket but the model's, on a machine where none of its libraries has run before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from quarterdeck.testing import HttpAnswer, OpenAIServer

ROOT = Path(__file__).parents[2]
CREW = """
crew: greeting
inputs:
  name: {type: string}
agents:
  clerk: {role: Clerk, goal: Be polite., backstory: You are new., tools: [words.count], model: openai/loopback}
tasks:
  hello: {agent: clerk, description: 'Greet {name}.', expected_output: A greeting.}
  bye: {agent: clerk, description: 'Say goodbye to {name}.', expected_output: A farewell.}
"""
TOOL = '''
def count(text: str) -> int:
    """Count the words of a text.

    Args:
        text: The text.
    """
    return len(text.split())
'''
SWITCHES = ("CREWAI_", "LITELLM_", "OTEL_", "ANONYMIZED_", "MEM0_", "QUARTERDECK_DATABASE")
"""What a developer may have set on this machine, and a user has not."""


def run(folder: Path, model: str, api_base: str = "http://127.0.0.1:9/v1") -> dict[str, Any]:
    """Run the crew in a fresh workspace with a fresh home, and return what the process says of itself."""
    for name, content in {
        "crews/greeting.yaml": CREW,
        "tools/words.py": TOOL,
        "config/models.yaml": (
            "default: openai/loopback\nmodels:\n"
            f'  openai/loopback: {{api_base: "{api_base}", price: free, context: 8192}}\n'
        ),
    }.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(content)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(SWITCHES)
    }
    home = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home/.cache")}
    (folder / "home").mkdir()
    command = [sys.executable, str(ROOT / "tests/e2e/watched_run.py"), model]
    done = subprocess.run(
        command, cwd=folder, env={**kept, **home}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert seen["status"] == "succeeded", seen["why"]
    assert seen["modules"] == ["crewai", "litellm"]
    return seen


def test_a_run_on_a_scripted_model_opens_no_socket(tmp_path: Path) -> None:
    assert run(tmp_path, "")["opened"] == []


def test_a_run_on_litellm_opens_only_the_models_socket(tmp_path: Path, loopback_model: OpenAIServer) -> None:
    count = HttpAnswer(tool_calls=(("words__count", '{"text": "ahoy there"}'),))
    loopback_model.script([count, HttpAnswer("Two words."), HttpAnswer("Goodbye.")])
    opened = run(tmp_path, "openai/loopback", loopback_model.url)["opened"]
    where = f"127.0.0.1:{loopback_model.port}"
    assert ["socket.connect", where] in opened
    assert {place for _, place in opened} == {where}
