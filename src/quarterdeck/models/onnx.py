"""Small models on this machine that read text: a network and its tokenizer. The one file that imports onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from quarterdeck.errors import ModelError

MAX_THREADS = 4


def load(model: Path, tokenizer: Path, *, what: str, alias: str) -> tuple[Any, Any]:
    """Return the tokenizer, which neither pads nor cuts, and the session of a model.

    Args:
        model: The network's file.
        tokenizer: The file of its tokenizer.
        what: What errors call it, such as `The embedder`.
        alias: What `quarterdeck models pull` calls its weights.

    Raises:
        ModelError: `no_weights`: a file cannot be used.
    """
    from quarterdeck import vendors
    from quarterdeck.models.tokenizer import from_file

    with vendors.importing():
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = min(MAX_THREADS, _cores())
    options.enable_cpu_mem_arena = False  # the arena keeps the memory of the largest batch there ever was
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        made = from_file(tokenizer)
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # both libraries raise bare exceptions of their own
        raise ModelError(
            f"{what} in {model.parent} cannot be loaded ({str(error)[:200]}). Delete {model.name} and "
            f"{tokenizer.name} there, then: quarterdeck models pull {alias} --yes",
            "no_weights",
        ) from error
    made.no_padding()
    made.no_truncation()
    return made, session


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
