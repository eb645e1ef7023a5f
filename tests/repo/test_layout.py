"""Rules of the repository that no other tool checks."""

from __future__ import annotations

import ast
import operator
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()
SOURCES = [ROOT / name for name in FILES if (ROOT / name).exists()]


def test_the_source_root_is_no_package_and_operator_is_the_standard_librarys() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert Path(str(operator.__file__)).is_relative_to(sysconfig.get_paths()["stdlib"])


def test_no_file_is_longer_than_400_lines_and_the_median_is_under_150() -> None:
    lengths = sorted((len(path.read_text().splitlines()), str(path)) for path in SOURCES)
    assert lengths[-1][0] <= 400, lengths[-1]
    assert lengths[len(lengths) // 2][0] < 150


def test_no_function_is_longer_than_60_lines() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"
