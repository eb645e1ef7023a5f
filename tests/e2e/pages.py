"""Pages that are followed word by word: each command on its host, and what it prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
HERE = "here"
"""The host of a command after a bare ``$``: the machine itself, in the checkout."""
_PROMPT = re.compile(r"([a-z]+(?:-\d)?)?[#$] (.*)")


def steps(page: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield host, command, and the lines that it should print."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        current: tuple[str, str, list[str]] | None = None
        for line in block.splitlines():
            if found := _PROMPT.fullmatch(line):
                if current:
                    yield current
                current = (found[1] or HERE, found[2], [])
            elif current:
                current[2].append(line)
        if current:
            yield current
