"""Questions that this repository's own pages in docs/ answer, each with the page and the section that does.

`SAME` asks in words of the page, `OTHER` as far as possible in none of its section. No question was changed or dropped
for how it fared: of 76 written, 30 went with the eight longest pages, which take a test too long to embed. Where
another section says it too, only the one named counts.
"""

from __future__ import annotations

Question = tuple[str, str, str]
"""What is asked, the page, the heading of the section that answers."""

SAME: tuple[Question, ...] = (
    ("What does Quarterdeck-Signature hold?", "approvals.md", "Telling people"),
    ("Which kinds are found by form and checksum (Luhn)?", "secrets.md", "Kinds of personal data"),
    ("Does git run with hooks, pagers and external diffs?", "files.md", "The tools"),
    ("Which bubblewrap and kernel does the sandbox need?", "sandbox.md", "What it needs"),
    ("How is the embedder MiniLM pulled?", "knowledge.md", "The embedder"),
    ("What does mcp.lock hold?", "mcp.md", "Accepting tools"),
    ("What happens with the percentile bootstrap over runs and --volume?", "cost.md", "Projection to a volume"),
    ("What is the price that a budget charges when the process was killed?", "budgets.md", "What is counted"),
    ("What does max_replans bound in a plan?", "plans.md", "Plan keys"),
    ("Which events does quarterdeck audit alerts list as bursts?", "audit.md", "Bursts"),
    ("What does the receipt of memory delete --user NAME say is left?", "erasure.md", "The right to erasure"),
    ("Is a call made again after waiting the same call, with exactly the same arguments, through the Gate?", "gate.md",
     "When a person has to answer"),
    ("Does an MCP server get sampling from our models?", "mcp.md", "What a server gets"),
    ("Where does <EMAIL> stand in its place with private: true?", "privacy.md", "Personal data"),
)  # fmt: skip

OTHER: tuple[Question, ...] = (
    ("A vendor's server keeps going down. How long is it spared before it gets another chance?", "failures.md",
     "Circuit breaker"),
    ("The provider asks us to come back later. How patient are we?", "failures.md", "Waits"),
    ("Who steps in when the preferred LLM cannot do the job?", "failures.md", "Fallback"),
    ("The stream stalls halfway through. When do we give up on it?", "failures.md", "Silence"),
    ("Can I revert everything an agent altered on disk?", "files.md", "Undo"),
    ("Which directories are agents allowed to touch?", "files.md", "Roots"),
    ("Does a half-finished save corrupt my document if the power fails?", "files.md", "What a write leaves"),
    ("Can untrusted scripts reach the internet or my home directory?", "sandbox.md", "What it does not have"),
    ("How are API keys and passwords kept out of logs?", "secrets.md", "Secrets"),
    ("Are customers' names hidden from OpenAI?", "secrets.md", "Personal data"),
    ("Can somebody tamper with the records without being noticed?", "audit.md", "The chain"),
    ("How do I prove cryptographically that nobody rewrote history?", "audit.md", "Signatures"),
    ("How many dollars did my jobs use up last week?", "cost.md", "What runs cost"),
    ("Benchmark two LLMs against each other on the same test set", "cost.md", "Comparing models"),
    ("Stop the monthly bill of one customer from exploding", "budgets.md", "Shared budgets"),
    ("Two agents ask exactly the same thing at the same moment. Do we pay twice?", "caching.md",
     "Identical calls share one"),
    ("How fast may we hit a vendor before being throttled?", "caching.md", "Rates"),
    ("Let a human rewrite the agent's strategy before it begins", "plans.md", "A person reviews"),
    ("Part of the strategy did not work out. What then?", "plans.md", "When a step fails"),
    ("How does a manager click yes on a payment that an agent wants to make?", "approvals.md", "How it is answered"),
    ("For how many hours is a permission good, and may it be reused?", "approvals.md", "What an approval holds for"),
    ("Speak to agents while they are busy", "approvals.md", "Telling a live run"),
    ("Use the safety checks together with somebody else's agent library, for example a graph of nodes", "gate.md",
     "LangGraph"),
    ("Can one customer's remembered details show up for another customer?", "privacy.md", "A user's own"),
    ("When do outdated entries vanish on their own?", "erasure.md", "Expiry"),
    ("Is a number copied from a web page good enough to pay it out?", "provenance.md", "What counts as a proof"),
    ("How do I write a unit test without paying for an LLM?", "answers.md", "The example"),
    ("Reject a reply that a function of mine finds faulty", "answers.md", "Guardrails and Evidence"),
    ("An extension that we plugged in changed its own description overnight", "mcp.md", "Accepting tools"),
    ("Is a health secret that was seen once still protected weeks later?", "privacy.md", "Sensitive stays sensitive"),
    ("Who gets an alert by mail or chat when a decision is due?", "approvals.md", "Telling people"),
    ("Is a broken search structure repaired by itself?", "erasure.md", "The index and its owner"),
)  # fmt: skip
