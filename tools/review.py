"""Shapes and checks of the code-review crew: a finding counts only where the code really stands."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from quarterdeck.tools.evidence import Evidence

__all__: list[str] = []

NUMBER = re.compile(r"^\s*(\d+)[ +]", re.MULTILINE)
ORDER = {"high": 0, "medium": 1, "low": 2}


class Finding(BaseModel):
    """One thing that is wrong with the code."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(max_length=300)
    line: int
    severity: Literal["high", "medium", "low"]
    problem: str = Field(max_length=300)
    suggestion: str = Field(max_length=300)


class Findings(BaseModel):
    """What one reviewer found."""

    model_config = ConfigDict(extra="forbid")

    findings: list[Finding] = Field(max_length=5)

    @classmethod
    def narrowed(cls, schema: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
        """Limit files to those that were shown."""
        files = sorted(_shown(evidence))
        if files:
            schema["$defs"]["Finding"]["properties"]["file"] = {"type": "string", "enum": files}
        return schema


class Review(BaseModel):
    """The manager's judgement, with the reviewers' findings put in by code."""

    model_config = ConfigDict(extra="forbid")

    summary: str = Field(max_length=600)
    verdict: Literal["approve", "change"]
    findings: list[dict[str, Any]] = Field(default=[], max_length=100)

    @classmethod
    def narrowed(cls, schema: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
        """Leave the findings out of what the model writes."""
        del schema["properties"]["findings"]
        return schema


def findings_stand_in_the_code(output: Findings, evidence: Evidence) -> Findings:
    """Guardrail: drop findings about files or lines that the reviewer was not shown."""
    shown = _shown(evidence)
    kept = [finding for finding in output.findings if finding.line in shown.get(finding.file, ())]
    dropped = len(output.findings) - len(kept)
    if dropped:
        evidence.notes.append(f"{dropped} finding{'s' * (dropped > 1)} about code that was not shown, dropped")
    return Findings(findings=kept)


def with_findings(output: Review, evidence: Evidence) -> Review:
    """Guardrail: put in what the reviewers really found, and let no high finding be approved."""
    findings: list[dict[str, Any]] = []
    seen: set[tuple[str, int, str]] = set()
    for receipt in evidence.receipts:
        result = receipt.result if isinstance(receipt.result, dict) else {}
        answer = result.get("result")
        for finding in answer.get("findings", []) if isinstance(answer, dict) else []:
            key = (finding["file"], finding["line"], finding["problem"].lower())
            if key not in seen:
                seen.add(key)
                findings.append({**finding, "reviewer": receipt.arguments.get("worker", "")})
    findings.sort(key=lambda finding: (ORDER[finding["severity"]], finding["file"], finding["line"]))
    verdict = output.verdict
    if verdict == "approve" and any(finding["severity"] == "high" for finding in findings):
        evidence.notes.append('verdict "approve" changed to "change": there are high findings')
        verdict = "change"
    return Review(summary=output.summary, verdict=verdict, findings=findings)


def render_review(evidence: Evidence) -> str:
    """Return the review as Markdown."""
    review = evidence.outputs["review"]
    lines = ["# Code review", "", f"Verdict: **{review['verdict']}**", "", review["summary"], ""]
    for finding in review["findings"]:
        lines += [
            f"- **{finding['severity']}** `{finding['file']}:{finding['line']}` ({finding['reviewer']}): "
            f"{finding['problem']}",
            f"  Suggestion: {finding['suggestion']}",
        ]
    if not review["findings"]:
        lines.append("No findings.")
    return "\n".join(lines) + "\n"


def _shown(evidence: Evidence) -> dict[str, set[int]]:
    """Return the line numbers of each file that a receipt shows."""
    shown: dict[str, set[int]] = {}
    for receipt in evidence.receipts:
        if receipt.tool == "code.changes" and receipt.result:
            for entry in receipt.result:
                shown.setdefault(entry["file"], set()).update(map(int, NUMBER.findall(entry["lines"])))
        elif receipt.tool == "code.read" and receipt.result:
            numbers = map(int, NUMBER.findall(receipt.result))
            shown.setdefault(str(receipt.arguments.get("file")), set()).update(numbers)
    return shown
