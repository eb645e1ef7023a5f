"""Kernels that a guest may run: that of this machine's Debian, and that of the next one.

The next one comes from the same mirror, by apt, which checks signatures, into the cache folder that every checkout
shares. It wants a newer C library than this Debian has: that comes along, and the program is told where it is.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.console import LabError, say
from lab.gobuild import cache_folder, only_one
from lab.progress import run_visibly

NEXT = "trixie"
LIBRARY = Path("usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True)
class Kernel:
    """A program, and the folder that has its modules in one of its version's name."""

    program: Path = Path("/usr/bin/linux.uml")
    modules: Path = Path("/usr/lib/uml/modules")


OWN = Kernel()


def newer() -> Kernel:
    """The next Debian's; fetched when it is not there yet (some 60 MB)."""
    home = cache_folder() / f"kernel-{NEXT}"
    complete = home / "complete"
    if not complete.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with only_one(home.with_suffix(".lock"), f"fetching the kernel of {NEXT}"):
            if not complete.exists():
                _make(home)
                complete.touch()
    return Kernel(home / OWN.program.relative_to("/"), home / OWN.modules.relative_to("/"))


def _make(home: Path) -> None:
    """In place, since the program names the folder."""
    shutil.rmtree(home, ignore_errors=True)
    apt = home / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb {_mirror()} {NEXT} main\n")
    say(f"fetching the kernel of {NEXT} into {home} (once)")
    _apt(apt, "update")
    _apt(apt, "download", "user-mode-linux", "libc6")
    for package in apt.glob("*.deb"):
        run_visibly(f"unpacking {package.name}", ["dpkg-deb", "--extract", str(package), str(home)])
    library = home / LIBRARY
    told = ["patchelf", "--set-interpreter", str(library / "ld-linux-x86-64.so.2"), "--set-rpath", str(library)]
    run_visibly("patchelf", [*told, str(home / OWN.program.relative_to("/"))])
    shutil.rmtree(apt)


def _apt(folder: Path, *words: str) -> None:
    """With lists of its own: those of the machine stay as they are."""
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State": folder / "state",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    run_visibly(f"apt-get {words[0]}, {NEXT}", ["apt-get", *options, *words], _plain(), folder)


def _mirror() -> str:
    """Where this machine has its own packages from."""
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    found = subprocess.run(query, capture_output=True, text=True, check=False, env=_plain()).stdout.split()
    for uri in found:
        if "security" not in uri:
            return uri
    raise LabError("apt knows of no mirror: /etc/apt/sources.list.d has none for component main")


def _plain() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}
