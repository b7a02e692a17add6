"""The command `quarterdeck`, also as `python -m quarterdeck`."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code.

    Args:
        arguments: What stands behind the command's name; those of this process if not given.
    """
    if arguments is None:
        # What loads here is kept until the end: looking for garbage as often as Python does took a run half a second.
        gc.set_threshold(100_000, 50, 100)
        atexit.register(gc.freeze)  # else the interpreter looks through all of it once more on its way out
    from quarterdeck.cli.failures import explain

    try:
        from quarterdeck.cli.app import app
        from quarterdeck.tools.secrets import Masker, mask_logs

        mask_logs(Masker())
        app(args=None if arguments is None else list(arguments), prog_name="quarterdeck")
    except BrokenPipeError:
        # Whoever read our output has left; without this the interpreter would complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        sys.exit(explain(error))


if __name__ == "__main__":
    main()
