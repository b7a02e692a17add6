"""The same small crew, declared for Quarterdeck and for crewai, and the bare calls that both come down to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quarterdeck import optouts
from quarterdeck.engine.crew import Crew
from quarterdeck.engine.scope import Parts
from quarterdeck.models.catalog import Catalog
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.models import ModelsConfig
from quarterdeck.spec.workspace import Workspace
from quarterdeck.tools.manifest import tool as tool_of
from quarterdeck.tools.signature import tool_from_function

MODEL = "openai/bench"
KNOWN_MODEL = "openai/gpt-4o-mini"  # crewai offers tools natively only to models that it knows
TOOL, ARGUMENTS = "lookup", '{"order": "1182"}'
ROLE = {
    "role": "Support clerk",
    "goal": "Answer the customer's question from the order book.",
    "backstory": "You have worked at the counter for ten years and never guess.",
}
DESCRIPTION = "What is the state of order 1182, and when will it arrive?"
EXPECTED = "One sentence with the state and the day."


@tool_of(effect="read", owner="bench", sinks={})
def lookup(order: str) -> str:
    """Look up an order in the order book.

    Args:
        order: The number of the order.
    """
    return f"order {order}: packed, arrives on Friday"


def crew_of(
    url: str,
    folder: Path,
    *,
    tasks: int = 1,
    tool: bool = False,
    model: str = MODEL,
    process: str = "sequential",
    numbered: bool = False,
) -> Crew:
    """Return a crew of as many agents as tasks, its journal on disk.

    `numbered` makes the input `caller` and the task a part of each request: identical ones in flight share one call.
    """
    names = [f"step{number}" for number in range(1, tasks + 1)]
    agent = {**ROLE, "tools": (TOOL,) if tool else ()}
    task = {"description": DESCRIPTION, "expected_output": EXPECTED}
    told = f"{DESCRIPTION} Caller {{caller}}, "
    spec = CrewSpec.model_validate(
        {
            "crew": "bench",
            "process": process,
            "inputs": {"caller": {"type": "integer"}} if numbered else {},
            "agents": dict.fromkeys(names, agent),
            "tasks": {
                name: {**task, "agent": name} | ({"description": told + name} if numbered else {}) for name in names
            },
        }
    )
    entry = {"api_base": url, "api_key_env": "BENCH_KEY", "price": "free", "json_schema": True}
    catalog = Catalog(ModelsConfig.model_validate({"default": model, "models": {model: entry}}), {"BENCH_KEY": "none"})
    tools = {TOOL: tool_from_function(lookup, TOOL)} if tool else {}
    return Crew(
        spec,
        workspace=Workspace(folder),
        database_url=f"sqlite:///{folder / 'journal.db'}",
        catalog=catalog,
        parts=Parts(tools=tools, outputs={}, guardrails={}, functions={}),
    )


def crewai_crew(url: str, *, tasks: int = 1, tool: bool = False, model: str = MODEL) -> Any:
    """Return the same crew as plain `crewai` objects on its LiteLLM client, for one kickoff at a time."""
    optouts.apply()
    import crewai
    from crewai.events.event_listener import EventListener
    from crewai.events.utils.console_formatter import set_suppress_console_output
    from crewai.tools import tool as crewai_tool

    EventListener().formatter.verbose = False
    set_suppress_console_output(True)
    llm = crewai.LLM(model=model, base_url=url, api_key="none", is_litellm=True, max_tokens=1024, temperature=0.0)
    tools = [crewai_tool(TOOL)(lookup)] if tool else []
    agents = [crewai.Agent(**ROLE, llm=llm, tools=tools, verbose=False) for _ in range(tasks)]
    work = [crewai.Task(description=DESCRIPTION, expected_output=EXPECTED, agent=agent) for agent in agents]
    return crewai.Crew(agents=agents, tasks=work, verbose=False, memory=False)


def bare_arguments(url: str, *, tool: bool = False, model: str = MODEL) -> list[dict[str, Any]]:
    """Return the arguments of the `litellm.acompletion` calls that one such crew of one agent comes down to."""
    system = f"You are {ROLE['role']}. {ROLE['backstory']}\nYour goal: {ROLE['goal']}"
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": system},
        {"role": "user", "content": f"{DESCRIPTION}\n\nExpected output: {EXPECTED}"},
    ]
    call = {"model": model, "api_base": url, "api_key": "none", "max_tokens": 1024, "temperature": 0.0,
            "num_retries": 0, "max_retries": 0}  # fmt: skip
    if not tool:
        return [{**call, "messages": messages}]
    offer = tool_from_function(lookup, TOOL).offer()
    function = {"name": offer.name, "description": offer.description, "parameters": offer.parameters}
    call["tools"] = [{"type": "function", "function": function}]
    proposed = {"id": "call_0", "type": "function", "function": {"name": TOOL, "arguments": ARGUMENTS}}
    answered = [
        {"role": "assistant", "content": None, "tool_calls": [proposed]},
        {"role": "tool", "tool_call_id": "call_0", "content": lookup("1182")},
    ]
    return [{**call, "messages": messages}, {**call, "messages": messages + answered}]
