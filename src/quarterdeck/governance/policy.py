"""What the operator lets tools do: the effect of each tool, and what of it needs a person."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, get_args

import orjson

from quarterdeck.governance.dial import level_of
from quarterdeck.spec.conditions import Condition
from quarterdeck.spec.governance import Tier
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from quarterdeck.spec.governance import Autonomy, Effect, GovernanceConfig, PolicyRule, ToolClass

STRICTNESS: tuple[Tier, ...] = get_args(Tier)
"""From what anybody may to what nobody may."""
BYTES = "bytes"
"""In a rule's condition, where no parameter is named so: the size of all arguments together, as JSON."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy makes of a call.

    Attributes:
        effect: What the call does to the world; None when nobody has said.
        tier: What has to happen for it to be done.
        rule: What decided, such as `config/governance.yaml:14` or `autonomy: medium`.
        why: What that rule says to the person who has to approve.
    """

    effect: Effect | None
    tier: Tier
    rule: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    spec: PolicyRule
    condition: Condition | None


class Policy:
    """Says of each call of one run whether it is done, told, put before a person, or never done.

    Args:
        config: The operator's file.
        crew: Whose run it is.
        autonomy: Where the run's dial stands; the file's own if not given. It is never above that of the file unless
            the operator allows that, which `dial.dial_of` sees to.
        own: Where the crew's own file puts it. It only counts in shadow: the calls are judged as without it.
    """

    def __init__(
        self,
        config: GovernanceConfig,
        *,
        crew: str = "",
        autonomy: Autonomy | None = None,
        own: Autonomy | None = None,
    ) -> None:
        self.autonomy: Autonomy = autonomy or config.autonomy
        self._config = config
        self._crew = crew
        self._level = level_of(self.autonomy, own, config.autonomy)
        self._rules = tuple(_Rule(rule, Condition.parse(rule.when) if rule.when else None) for rule in config.rules)
        self._concerned: dict[tuple[str, str, str], tuple[_Rule, ...]] = {}
        self._defaults: dict[str, dict[str, Any]] = {}

    @property
    def shadow(self) -> bool:
        """Whether nothing but reading is done."""
        return self.autonomy == "shadow"

    def classified(self, tool: Tool) -> Tool:
        """Return a tool with what the operator says of it in the place of what its own file says."""
        classes = classes_of(self._config.tools, tool.name, tool.base, tool.manifest.version)
        said = {key: value for of in reversed(classes) for key, value in _said(of).items()}
        if not said:
            return tool
        manifest = replace(tool.manifest, **said)
        return replace(tool, manifest=manifest, timeout=said.get("timeout", tool.timeout))

    def judge(
        self, tool: Tool, arguments: Mapping[str, Any], agent: str = "", *, effect: Effect | None = None
    ) -> Verdict:
        """Return what becomes of a call.

        The first rule that matches decides; without one the dial does, by the effect. Where it cannot be told whether a
        rule matches (an argument is missing, or does not compare), the stricter of that rule and what follows holds.

        Args:
            tool: As `classified` returned it.
            arguments: Valid ones.
            agent: Who calls; empty for the engine.
            effect: What this call does, where that is less than what the tool can do.
        """
        effect = effect or tool.manifest.effect
        if effect is None:
            return Verdict(None, "forbidden", "no effect", f"Nobody has said what {tool.name} does to the world.")
        doubtful: list[Verdict] = []
        for rule in self._concerned_by(tool, effect, agent):
            verdict = Verdict(effect, rule.spec.tier, rule.spec.place, rule.spec.why)
            matches = True if rule.condition is None else rule.condition.decide(self._values(tool, arguments, rule))
            if matches:
                return _strictest(verdict, doubtful)
            if matches is None:
                doubtful.append(verdict)
        dial = f"{self.autonomy}, judged as {self._level}" if self.shadow else self.autonomy
        level = Verdict(effect, self._config.tier_of(self._level, effect), f"autonomy: {dial}")
        return _strictest(level, doubtful)

    def _concerned_by(self, tool: Tool, effect: Effect, agent: str) -> tuple[_Rule, ...]:
        """Return the rules that are about a tool, an effect and an agent whatever the arguments are."""
        key = (tool.name, effect, agent)
        if key not in self._concerned:
            names = names_of(tool.name, tool.base, tool.manifest.version)
            parameters = {BYTES, *tool.parameters.get("properties", {})}
            self._concerned[key] = tuple(
                rule
                for rule in self._rules
                if any(fnmatchcase(name, glob) for glob in rule.spec.tools for name in names)
                and (not rule.spec.effects or effect in rule.spec.effects)
                and any(fnmatchcase(self._crew, glob) for glob in rule.spec.crews)
                and any(fnmatchcase(agent, glob) for glob in rule.spec.agents)
                and (rule.condition is None or _is_about(rule.condition, parameters))
            )
        return self._concerned[key]

    def _values(self, tool: Tool, arguments: Mapping[str, Any], rule: _Rule) -> dict[str, Any]:
        """Return what a condition can name: the arguments, the tool's own defaults for those not given, and `bytes`."""
        if tool.name not in self._defaults:
            self._defaults[tool.name] = dict(_defaults(tool))
        given = {name: value.value if isinstance(value, Enum) else value for name, value in arguments.items()}
        values = {**self._defaults[tool.name], **given}
        if rule.condition is not None and BYTES in rule.condition.names and BYTES not in values:
            values[BYTES] = len(orjson.dumps(dict(arguments), default=str))
        return values


class Classified(Mapping[str, Tool]):
    """Tools by name, each with what the operator says of it; asks for a tool only when somebody does.

    Args:
        tools: The tools as their own files have them.
        policy: What the operator says.
    """

    def __init__(self, tools: Mapping[str, Tool], policy: Policy) -> None:
        self._tools = tools
        self._policy = policy
        self._known: dict[str, tuple[Tool, Tool]] = {}

    def __getitem__(self, name: str) -> Tool:
        """Return a tool.

        Raises:
            KeyError: There is none of this name.
        """
        tool = self._tools[name]
        known = self._known.get(name)
        if known is None or known[0] is not tool:
            known = self._known[name] = (tool, self._policy.classified(tool))
        return known[1]

    def __contains__(self, name: object) -> bool:
        """Say whether there is such a tool, without importing it."""
        return name in self._tools

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._tools)

    def __len__(self) -> int:
        """Return how many tools there are."""
        return len(self._tools)


def names_of(name: str, base: str, version: str) -> tuple[str, ...]:
    """Return what a tool may be called in a rule: no version of a tool gets past a rule about all of them."""
    return tuple(dict.fromkeys((name, f"{base}@{version}", base)))


def classes_of(classes: Mapping[str, ToolClass], name: str, base: str, version: str) -> list[ToolClass]:
    """Return what the operator says of a tool, what goes first first: its exact names, then globs in their order."""
    names = names_of(name, base, version)
    exact = [classes[one] for one in names if one in classes]
    globs = [of for glob, of in classes.items() if glob not in names and any(fnmatchcase(one, glob) for one in names)]
    return exact + globs


def _said(of: ToolClass) -> dict[str, Any]:
    known = {field.name for field in fields(Manifest)}
    return {key: value for key in type(of).model_fields if key in known and (value := getattr(of, key)) is not None}


def _strictest(verdict: Verdict, doubtful: list[Verdict]) -> Verdict:
    # the first of equals: it is the rule that comes first
    return max((*doubtful, verdict), key=lambda one: STRICTNESS.index(one.tier))


def _is_about(condition: Condition, parameters: set[str]) -> bool:
    """Say whether a condition reads anything that a tool has; what it has not says nothing about its calls."""
    return not condition.names or any(name.split(".")[0] in parameters for name in condition.names)


def _defaults(tool: Tool) -> Iterator[tuple[str, Any]]:
    try:
        parameters = inspect.signature(tool.function).parameters.items()
        yield from (
            (name, parameter.default) for name, parameter in parameters if parameter.default is not parameter.empty
        )
    except (TypeError, ValueError):
        pass
    properties = tool.parameters.get("properties", {})
    yield from ((name, part["default"]) for name, part in properties.items() if "default" in part)
