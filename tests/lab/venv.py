"""The Python environment of the tasks: one per set of dependencies, in the cache folder, never in the checkout.

Only the standard library: this runs with the system's python3 before anything else is there. The project
itself is not installed into it; PYTHONPATH names the checkout, so several checkouts share one environment.
"""

import hashlib
import shutil
import sys
import tomllib
from pathlib import Path

from lab.console import LabError, say
from lab.gobuild import cache_folder, only_one
from lab.progress import run_visibly

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def dependencies() -> list[str]:
    """What pyproject.toml asks for, the tools of the tasks included."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    return sorted([*project["dependencies"], *extras])


def folder() -> Path:
    """Where the environment for these dependencies and this Python is, or will be."""
    text = "\n".join([sys.version, *dependencies()])
    return cache_folder() / f"venv-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def ensure() -> Path:
    """Make the environment unless it is there; an interrupted or concurrent attempt leaves no half of one."""
    target = folder()
    if (target / "complete").exists():
        return target
    if sys.version_info < (3, 11):  # noqa: UP036 - this file runs before anything has checked that
        raise LabError(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_one(target.parent / "venv.lock", "setup: the Python environment"):
        if not (target / "complete").exists():
            _make(target)
    return target


def _make(target: Path) -> None:
    # An environment cannot be moved (its scripts name their folder), so it is made in place and marked at the end.
    shutil.rmtree(target, ignore_errors=True)
    say(f"setup: making the Python environment {target}")
    run_visibly("python -m venv", [sys.executable, "-m", "venv", str(target)])
    wanted = target / "requirements.txt"
    wanted.write_text("\n".join(dependencies()) + "\n")
    pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    run_visibly("pip install", [*pip, "-r", str(wanted)], scratch=target / "tmp")
    (target / "complete").touch()
