"""The command `quarterdeck`, also as `python -m quarterdeck`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code.

    Args:
        arguments: What stands behind the command's name; those of this process if not given.
    """
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
