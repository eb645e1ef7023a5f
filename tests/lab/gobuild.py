"""Compile a Go program once and keep it: `<cache>/<name>-<version>/<name>`.

    lock <cache>/<name>-<version>.lock        one build at a time; others say that they wait
      build in <cache>/.building-<name>-XXXX  swept away at the next build if this one was killed
      rename it to <cache>/<name>-<version>   appears complete or not at all

The lock is a kernel lock on an open file: it goes when its holder dies, however that happens.
"""

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.console import LabError, say
from lab.progress import INTERVAL, run_visibly


@dataclass(frozen=True)
class Source:
    """A Go module at one version, and the package in it that is the program."""

    module: str
    version: str
    package: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    """What the linker writes into the program: it should know its own version."""


def cache_folder() -> Path:
    """Outside the checkout, so that `git clean` and a second checkout do not cost another compilation."""
    named = os.environ.get("VIRTUALSERVER_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "virtualserver"


def build(name: str, source: Source) -> Path:
    """The program from the cache, compiled now if it is not there yet."""
    cache = cache_folder()
    home = cache / f"{name}-{source.version}"
    program = home / name
    if program.exists():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    with only_one(cache / f"{name}-{source.version}.lock", f"compiling {name}"):
        if program.exists():
            return program
        for leftover in cache.glob(f".building-{name}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if shutil.which("go") is None:
            raise LabError(
                f"{name} {source.version} has to be compiled, but there is no `go` on PATH:"
                " install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to a folder with ready-made programs"
            )
        _compile(name, source, cache, home)
    return program


def _compile(name: str, source: Source, cache: Path, home: Path) -> None:
    began = time.monotonic()
    say(f"compiling {name} {source.version} from its Go module into {home} (once; minutes on a small machine)")
    work = Path(tempfile.mkdtemp(prefix=f".building-{name}-", dir=cache))
    try:
        _write_module(name, source, work)
        settings = " ".join(f"-X {variable}={value}" for variable, value in source.variables.items())
        result = work / "result"
        result.mkdir()
        command = ["go", "build", "-mod=mod", "-trimpath", "-ldflags", f"-s -w {settings}"]
        command += ["-o", str(result / name), source.package]
        run_visibly(f"compiling {name}", command, _go_env(), work, scratch=work / "tmp")
        shutil.rmtree(home, ignore_errors=True)  # without the program: a person has removed it
        result.rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"compiling {name}: done in {time.monotonic() - began:.0f} s")


def _write_module(name: str, source: Source, work: Path) -> None:
    """A module of our own that requires the program's.

    k8s.io/kubernetes points its staging modules at folders of its repository by `replace`, which Go ignores
    in a required module, so they are repeated here as versions: v1.36.3 goes with v0.36.3.
    """
    lines = [f"module lab/{name}", "", "go 1.26", "", f"require {source.module} {source.version}", ""]
    (work / "go.mod").write_text("\n".join(lines))
    if source.module != "k8s.io/kubernetes":
        return
    staged = "v0" + source.version.removeprefix("v1")
    module = f"{source.module}@{source.version}"
    command = ["go", "mod", "download", "-json", module]
    answer = run_visibly(f"fetching {module}", command, _go_env(), work, scratch=work / "tmp")
    folder = re.search(r'"Dir": "(.*?)"', "\n".join(answer))
    if folder is None:
        raise LabError(f"`go mod download -json {module}` did not say where the module is")
    text = (Path(folder[1]) / "go.mod").read_text()
    replaced = re.findall(r"^\s+(k8s\.io/[a-z-]+) => \./staging", text, re.MULTILINE)
    lines += ["replace (", *(f"\t{module} => {module} {staged}" for module in replaced), ")", ""]
    (work / "go.mod").write_text("\n".join(lines))


def _go_env() -> dict[str, str]:
    """No C compiler needed, and no workspace or flags of the person's other projects."""
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false", "LC_ALL": "C.UTF-8"}


@contextmanager
def only_one(path: Path, title: str) -> Iterator[None]:
    """Hold the lock file; while another command does, say so every few seconds."""
    with path.open("a+") as lock:
        began = time.monotonic()
        said = -INTERVAL
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - began
                if waited - said >= INTERVAL:
                    said = waited
                    say(f"{title}: waiting for another command that does it ({waited:.0f} s)")
                time.sleep(0.5)
        yield
