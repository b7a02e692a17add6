"""Which environment variables hold the key of which provider. Only names are handled here, never a key's text."""

from __future__ import annotations

from collections.abc import Mapping

_OTHER_NAMES = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "chatgpt": (),
    "cohere_chat": ("COHERE_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "datarobot": ("DATAROBOT_API_TOKEN",),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "text-completion-openai": ("OPENAI_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
}
_WITHOUT_KEY = frozenset({
    "bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "vertex_ai", "oci",  # the machine's own identity
    "docker_model_runner", "github_copilot", "hosted_vllm", "lemonade", "llamafile", "lm_studio", "ollama",
    "ollama_chat", "oobabooga", "openai_like", "triton", "vllm", "xinference",  # servers of one's own
})  # fmt: skip


def key_names(provider: str) -> tuple[str, ...]:
    """Return the variables of which one must be set; none for a provider that needs no key.

    Args:
        provider: LiteLLM's name, such as `openai`.
    """
    if provider in _WITHOUT_KEY:
        return ()
    default = (f"{provider.upper().replace('-', '_')}_API_KEY",)
    return _OTHER_NAMES.get(provider, default)


def set_key(names: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    """Return the first of the variables that is set and not empty, or None."""
    return next((name for name in names if environ.get(name, "").strip()), None)


def no_key(provider: str, names: tuple[str, ...]) -> str:
    """Return the line that tells a user what to do about a missing key."""
    return f"No key for {provider}: set {' or '.join(names[:2])}, or run on this machine with --model local."
