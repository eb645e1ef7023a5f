"""Which modules this kernel has, loaded or not; reads files only and loads nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

_NAME = re.compile(r"^[^:\s]*?([^/:\s]+)\.ko\b", re.MULTILINE)


def absent(names: Collection[str], root: Path = Path("/"), release: str | None = None) -> frozenset[str]:
    """Return those of ``names`` that are neither loaded, nor built in, nor on disk.

    Empty where the list of modules cannot be read (in a container, say): then nothing is known.
    """
    folder = root / "lib/modules" / (release or os.uname().release)
    known: set[str] = set()
    for name in ("modules.dep", "modules.builtin"):
        try:
            known |= {found.replace("-", "_") for found in _NAME.findall((folder / name).read_text())}
        except OSError:
            return frozenset()
    return frozenset(one for one in names if one not in known and not (root / "sys/module" / one).exists())
