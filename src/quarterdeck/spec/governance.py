"""`config/governance.yaml`: what tools do to the world, and what of it needs a person."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from quarterdeck.spec.conditions import Condition
from quarterdeck.spec.crew import Autonomy as Autonomy
from quarterdeck.spec.crew import Declared
from quarterdeck.spec.sentences import Finding, findings
from quarterdeck.spec.text import Document

Effect = Literal["read", "write", "external", "irreversible"]
"""What a call does: nothing, something that can be put back, something outside, something that cannot be undone."""

Tier = Literal["autonomous", "notify", "approve", "forbidden"]
"""Done; done and told; done once a person has approved it; never done, whoever asks."""

Level = Literal["low", "medium", "high"]
SinkKind = Literal["recipient", "url", "path", "amount", "command", "other"]
"""What a parameter decides: to whom, where to, how much, what is run."""

Glob = Annotated[str, Field(pattern=r"^[A-Za-z_*][A-Za-z0-9_.*?@-]{0,127}$")]

LEVELS: dict[Level, dict[Effect, Tier]] = {
    "low": {"read": "autonomous", "write": "approve", "external": "approve", "irreversible": "forbidden"},
    "medium": {"read": "autonomous", "write": "notify", "external": "approve", "irreversible": "approve"},
    "high": {"read": "autonomous", "write": "autonomous", "external": "notify", "irreversible": "approve"},
}
"""What each position of the dial makes of an effect, where no rule says otherwise."""


class ToolClass(Declared):
    """What the operator says of some tools; it goes before what the tool's own file says."""

    effect: Effect | None = None
    owner: Annotated[str, Field(max_length=200)] | None = None
    sinks: dict[str, SinkKind] | None = Field(default=None, description="Parameters that decide where to or how much.")
    trusted: bool | None = Field(default=None, description="Whether what it returns may be acted upon.")
    sensitive: bool | None = Field(default=None, description="Whether what it returns must not leave by an open sink.")
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = Field(default=None, description="Seconds a call.")
    retries: dict[str, Annotated[int, Field(ge=0, le=10)]] | None = Field(
        default=None, description="More attempts by class of error, such as `timeout: 2`."
    )
    idempotent: bool | None = Field(default=None, description="Whether a call made twice does no more than once.")
    substitute: str | None = Field(default=None, description="The tool to call once where this one is down.")
    version: str | None = None
    deprecated: str | None = Field(default=None, description="From when on, and what to use in its place.")
    isolated: bool | None = Field(
        default=None,
        description="True: in a new process for each call. False: in a thread of the run's own process.",
    )


class PolicyRule(Declared):
    """One rule; the first that matches a call decides."""

    tools: tuple[Glob, ...] = ("*",)
    effects: tuple[Effect, ...] = ()
    crews: tuple[Glob, ...] = ("*",)
    agents: tuple[Glob, ...] = ("*",)
    when: str | None = Field(default=None, description="A condition on the arguments, such as `eur > 100`.")
    tier: Tier
    why: str = Field(default="", description="Shown to the person who has to approve.")
    _place: str = PrivateAttr(default="config/governance.yaml")

    @property
    def place(self) -> str:
        """Where it is declared, such as `config/governance.yaml:14`."""
        return self._place

    def declared_at(self, place: str) -> None:
        """Keep where it is declared, for whoever asks why a call was denied."""
        self._place = place

    @property
    def matches_all(self) -> bool:
        """Whether no call gets past it."""
        said = {"tier", "why"}
        return self.model_dump(exclude=said) == PolicyRule(tier=self.tier).model_dump(exclude=said)


class NotifySpec(Declared):
    """Whom to tell of what needs a person. Secrets are named by their variable, never written here."""

    webhook: Annotated[str, Field(pattern=r"^https?://[^\s]{1,500}$")] | None = None
    webhook_secret_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = None
    slack_url_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = None
    email_to: tuple[Annotated[str, Field(max_length=254)], ...] = ()
    email_from: Annotated[str, Field(max_length=254)] = ""
    smtp_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = Field(
        default=None, description="Holds smtp://user:password@host:port or smtps://..."
    )


class ApprovalSpec(Declared):
    """How long an approval can be given and used."""

    expires_hours: Annotated[float, Field(gt=0, le=24 * 90)] = 24.0


class TrialSpec(Declared):
    """New tools prove themselves before they act."""

    verified_calls: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="A tool that changes something stays in shadow until a person has agreed to so many."
    )


class MonitorSpec(Declared):
    """What counts as unusual, so that an alert is raised."""

    burst: Annotated[float, Field(ge=1, le=1000)] | None = Field(
        default=5.0,
        description="So many times the calls a minute of a tool in the crew's earlier runs; null for never.",
    )
    least: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=60,
        description="Calls of a tool a minute up to which nothing is unusual; with no earlier run, the bound.",
    )


class AuditSpec(Declared):
    """Signs the journal of each run. Keys are named by their variable, never written here."""

    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = Field(
        default=None, description="Holds the private key, as `quarterdeck audit new-key` makes it."
    )
    public_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{43}=$")] | None = Field(
        default=None, description="Checks signatures where the private key is not."
    )


class RedactSpec(Declared):
    """What is taken out of prompts before they leave the machine."""

    pii: tuple[Literal["email", "phone", "iban", "credit_card", "person", "location", "ip"], ...] = ()
    regions: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = Field(
        default=(), max_length=20, description="Countries whose national phone numbers count too, such as `DE`."
    )
    models: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_*][A-Za-z0-9_./:*?@-]{0,199}$")], ...] = Field(
        default=("*",), description="For which models; the embedded one never leaves."
    )


def _not_run(name: str) -> str:
    if name == "run":
        raise ValueError("`run` is always the run's own folder; give this root another name")
    return name


RootName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$"), AfterValidator(_not_run)]


class RootSpec(Declared):
    """A folder that the files and git tools may use; `run`, the run's own folder, is always there."""

    path: Annotated[str, Field(min_length=1, max_length=1000)]
    write: bool = False


class GovernanceConfig(Declared):
    """What tools may do in this workspace. Who is not named here and in no tool's file is forbidden."""

    autonomy: Autonomy = "medium"
    may_raise: bool = Field(
        default=False, description="Whether --autonomy and QUARTERDECK_AUTONOMY may also raise the dial; a crew never."
    )
    tools: dict[Glob, ToolClass] = Field(default_factory=dict, max_length=500)
    rules: tuple[PolicyRule, ...] = Field(default=(), max_length=200)
    levels: dict[Level, dict[Effect, Tier]] = Field(
        default_factory=dict, description="In place of single tiers of `LEVELS`."
    )
    approvals: ApprovalSpec = ApprovalSpec()
    notify: NotifySpec = NotifySpec()
    trial: TrialSpec = TrialSpec()
    monitor: MonitorSpec = MonitorSpec()
    audit: AuditSpec = AuditSpec()
    redact: RedactSpec = RedactSpec()
    roots: dict[RootName, RootSpec] = Field(
        default_factory=dict, max_length=100, description="Folders of the files tools, by name."
    )

    def tier_of(self, level: Level, effect: Effect) -> Tier:
        """Return what a position of the dial makes of an effect where no rule says otherwise."""
        return self.levels.get(level, {}).get(effect) or LEVELS[level][effect]


def read_governance(document: Document) -> tuple[GovernanceConfig | None, list[Finding]]:
    """Check the data of a governance file; return the configuration as far as it can be read, and what is wrong."""
    config, found = findings(GovernanceConfig, document.data)
    if config is None or found:
        return config, found
    for index, rule in enumerate(config.rules):
        rule.declared_at(f"{document.file}:{document.position(('rules', index))[0]}")
        if rule.when is not None:
            try:
                Condition.parse(rule.when)
            except ValueError as error:
                found.append(Finding(("rules", index, "when"), str(error)))
    for index, rule in enumerate(config.rules[:-1]):
        if rule.matches_all:
            what = f"never reached: the rule at {rule.place} matches every call; put it last"
            found.append(Finding(("rules", index + 1), what))
            break
    return config, found
