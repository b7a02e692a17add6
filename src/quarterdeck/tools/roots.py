"""The folders that the operator opened to tools, as `config/governance.yaml` declares them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from quarterdeck.tools.tool import RootFolder

if TYPE_CHECKING:
    from quarterdeck.spec.governance import RootSpec


def root_folders(declared: Mapping[str, RootSpec], base: Path) -> dict[str, RootFolder]:
    """Return where each declared root is.

    Args:
        declared: By name.
        base: The workspace; what relative paths are relative to.
    """
    # resolved once, here: the operator may well declare a link, but a tool never follows one
    return {
        name: RootFolder((base / Path(root.path).expanduser()).resolve(), write=root.write)
        for name, root in declared.items()
    }
