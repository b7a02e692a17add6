"""CPU of starting the command: the ones that need no vendor, and a cold run above the imports that it cannot avoid.

python -m bench.startup [--rounds 5] [--without-run]

CPU is user and system time of the whole process and its children, median over the rounds, with byte code.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.loopback import Loopback
from bench.report import Row, report

VENDORS = ("crewai", "litellm", "xllamacpp", "openai", "chromadb", "mem0")
COMMANDS = {"--help": 0.25, "validate": 0.4, "runs list": 0.6}
TARGET_COLD = 0.5
IMPORTS = "from quarterdeck import optouts; optouts.apply(); import warnings; warnings.simplefilter('ignore'); "
FIRST_CALL = """
import asyncio, os, crewai, litellm
async def call():
    messages = [{"role": "user", "content": "Greet the guest."}]
    base = os.environ["BENCH_URL"]
    async for _ in await litellm.acompletion(
        model="openai/bench", messages=messages, api_base=base, api_key="none", stream=True
    ):
        pass
asyncio.run(call())
"""
CREW = """\
crew: hello
agents:
  host: {role: Host, goal: Greet., backstory: You are kind., model: openai/bench}
tasks:
  greet: {agent: host, description: Greet the guest., expected_output: One sentence.}
"""
MODELS = """\
default: openai/bench
models:
  openai/bench: {api_base: "URL", api_key_env: BENCH_KEY, price: free, json_schema: true}
"""


def cpu(command: list[str], folder: Path, environ: Mapping[str, str], rounds: int) -> float:
    """Return the seconds of CPU that a command takes."""
    seen: list[float] = []
    for _ in range(rounds + 1):  # the first writes byte code and fills caches
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-800:]}"
            )
        seen.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(seen[1:] or seen)


def imported(arguments: list[str], folder: Path, environ: Mapping[str, str]) -> list[str]:
    """Return the vendors that a command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "quarterdeck", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    return sorted(names.intersection(VENDORS))


def workspace(folder: Path, url: str) -> None:
    """Declare one small crew whose model is the loopback."""
    for name, text in (("crews/hello.yaml", CREW), ("config/models.yaml", MODELS.replace("URL", url))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    rows: list[Row] = []
    quarterdeck = [sys.executable, "-m", "quarterdeck"]
    with Loopback() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace(folder, server.url)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("QUARTERDECK_")}
        environ |= {"BENCH_KEY": "none", "BENCH_URL": server.url, "NO_COLOR": "1"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        if not options.without_run:
            imports = cpu([sys.executable, "-c", IMPORTS + "import crewai, litellm"], folder, environ, options.rounds)
            first = cpu([sys.executable, "-c", IMPORTS + FIRST_CALL], folder, environ, options.rounds)
            run = cpu([*quarterdeck, "run", "hello"], folder, environ, options.rounds)
            rows = [
                ("import crewai, litellm", imports, "s CPU", None),
                ("the same and one bare streamed call", first, "s CPU", None),
                ("cold run, one model call", run, "s CPU", None),
                ("cold run above the imports", run - imports, "s CPU", TARGET_COLD),
                ("cold run above the imports and the bare call", run - first, "s CPU", None),
            ]
        for command, target in COMMANDS.items():
            arguments = command.split()
            rows.append((command, cpu([*quarterdeck, *arguments], folder, environ, options.rounds), "s CPU", target))
            rows.append((f"{command}: vendors", len(imported(arguments, folder, environ)), "imported", 0))
    report("startup", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-run", action="store_true", help="only the commands that need no vendor")
    main(parser.parse_args())
