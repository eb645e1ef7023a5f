"""Kernel modules: which ones this kernel has, and which one a refused operation lacks.

The kernel loads modules by itself where it has them and may; nothing here loads any.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection
from pathlib import Path

from virtualserver.model.operations import AddDecapsulation, AddLink, AddService, Operation, SetService
from virtualserver.model.types import LinkKind

_NAME = re.compile(r"^[^:\s]*?([^/:\s]+)\.ko\b", re.MULTILINE)
_OF_LINKS = {
    LinkKind.DUMMY: "dummy",
    LinkKind.IPIP: "ipip",
    LinkKind.SIT: "sit",
    LinkKind.IP6TNL: "ip6_tunnel",
    LinkKind.GRE: "ip_gre",
    LinkKind.IP6GRE: "ip6_gre",
}


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


def missing_module(operation: Operation, number: int) -> str:
    """Return the module's name; "" when an operation was refused (with this errno) for another reason."""
    match operation:
        case AddService() | SetService() if number == errno.ENOENT:
            return f"ip_vs_{operation.content.scheduler}"
        case AddLink() if number == errno.EOPNOTSUPP:
            return _OF_LINKS.get(operation.link.kind, "")
        case AddDecapsulation() if number == errno.EOPNOTSUPP:
            return "fou"
    return ""
