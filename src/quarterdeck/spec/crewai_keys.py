"""What becomes of each key of CrewAI's own project files (read in crewai 1.15.30)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one kind of thing.

    Attributes:
        taken: Those whose meaning is taken over.
        harmless: Those that tune CrewAI's own machinery; a note says that they have no effect here.
        refused: Those that change what the crew does in a way that is not taken over, with what to write instead.
    """

    taken: frozenset[str]
    harmless: frozenset[str]
    refused: Mapping[str, str]

    @property
    def known(self) -> list[str]:
        """All of them."""
        return sorted({*self.taken, *self.harmless, *self.refused})


_CODE = "Python hooks are not called; move what it does into a tool or a guardrail of a Quarterdeck crew"
_KNOWLEDGE = "knowledge is not loaded; give the agent a tool that reads it"
_JUDGE = "a guardrail is a Python function here; declare guardrails: [tools/FILE.py:NAME] in a Quarterdeck crew"
_OUTPUT = "declare the output in a Quarterdeck crew, such as output: {answer: string}"
_PROMPT = "prompts are not replaced; put what matters into role, goal and backstory"
_OUTSIDE = "tools come from tools/*.py"

AGENT = Keys(
    taken=frozenset({"role", "goal", "backstory", "llm", "tools", "max_iter", "max_tokens", "settings"}),
    harmless=frozenset(
        """verbose cache max_rpm allow_delegation memory embedder reasoning max_reasoning_attempts planning
        planning_config respect_context_window use_better_compaction max_retry_limit use_system_prompt inject_date
        date_format code_execution_mode function_calling_llm security_config max_execution_time i18n
        guardrail_max_retries tool_failure_policy entity_type knowledge_config checkpoint""".split()
    ),
    refused={
        "type": "agents of other classes are not loaded; use Crew.from_crewai for them",
        "config": "write its keys into the agent itself",
        "allow_code_execution": "agents run no code of their own; give them a tool",
        "multimodal": "images are not read; describe them in text",
        "knowledge_sources": _KNOWLEDGE,
        "knowledge": _KNOWLEDGE,
        "knowledge_storage": _KNOWLEDGE,
        "skills": _KNOWLEDGE,
        "guardrail": _JUDGE,
        "step_callback": _CODE,
        "callbacks": _CODE,
        "agent_executor": _CODE,
        "executor_class": _CODE,
        "system_template": _PROMPT,
        "prompt_template": _PROMPT,
        "response_template": _PROMPT,
        "apps": _OUTSIDE,
        "mcps": _OUTSIDE,
        "a2a": _OUTSIDE,
        "from_repository": "roles come from roles/*.yaml",
    },
)

TASK = Keys(
    taken=frozenset({"name", "description", "expected_output", "agent", "context", "tools", "output_file"}),
    harmless=frozenset(
        """async_execution markdown create_directory security_config guardrail_max_retries max_retries
        tool_failure_policy allow_crewai_trigger_context""".split()
    ),
    refused={
        "type": 'only plain tasks are loaded; a condition is written as when: "TASK.FIELD"',
        "condition": 'write it as when: "TASK.FIELD" in a Quarterdeck crew',
        "config": "write its keys into the task itself",
        "human_input": "no task waits at a console; declare an approval in a Quarterdeck crew",
        "guardrail": _JUDGE,
        "guardrails": _JUDGE,
        "callback": _CODE,
        "converter_cls": _CODE,
        "prompt_context": _PROMPT,
        "output_json": _OUTPUT,
        "output_pydantic": _OUTPUT,
        "response_model": _OUTPUT,
        "input_files": "declare an input of type file in a Quarterdeck crew",
    },
)

CREW = Keys(
    taken=frozenset({"name", "agents", "tasks", "process", "manager_agent", "manager_llm", "inputs"}),
    harmless=frozenset(
        """verbose memory cache max_rpm planning planning_llm chat_llm function_calling_llm embedder output_log_file
        stream tracing security_config share_crew tool_failure_policy entity_type checkpoint""".split()
    ),
    refused={
        "config": "write its keys into the file itself",
        "before_kickoff_callbacks": _CODE,
        "after_kickoff_callbacks": _CODE,
        "step_callback": _CODE,
        "task_callback": _CODE,
        "knowledge_sources": _KNOWLEDGE,
        "knowledge": _KNOWLEDGE,
        "skills": _KNOWLEDGE,
        "prompt_file": _PROMPT,
        "trained_agents_file": _PROMPT,
    },
)

PREFIXES = {"gpt": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "claude": "anthropic", "gemini": "gemini"}
"""The providers that CrewAI reads off a bare model name."""
