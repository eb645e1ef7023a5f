"""Compiling the API server, with a `go` that only takes its time: all around it is the real thing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.assets import KUBERNETES
from lab.console import wait_until
from labtests.command import Command
from labtests.drive import OwnLab
from labtests.machine import working_inside

PROGRAM = f"kube-apiserver-{KUBERNETES}/kube-apiserver"
GO = """#!/bin/sh
# Called as the real one is: has a work folder while it runs, and writes the program to the FILE of `-o FILE`.
echo "$1 $2" >>{calls}
if [ "$1 $2" = "mod download" ]; then echo '{{"Dir": "{module}"}}'; exit; fi
mkdir "$TMPDIR/go-build1"
while [ "$1" != -o ]; do shift; done
case $2 in */kube-apiserver) {work} ;; esac
printf '#!/bin/sh\\necho v3.22.0 Client Version: v1.36.3\\n' >"$2" && chmod 755 "$2"
rm -r "$TMPDIR/go-build1"
"""


@dataclass
class Builder:
    """The lab's command line with a cache of its own and with that `go`."""

    own: OwnLab
    cache: Path

    def start(self, work: str) -> AbstractContextManager[Command]:
        """`python -m lab assets`, where compiling the API server is that shell command."""
        place = self.own.scratch
        (place / "bin").mkdir(exist_ok=True)
        (place / "go.mod").touch()
        (place / "bin" / "go").write_text(GO.format(work=work, calls=place / "calls", module=place))
        (place / "bin" / "go").chmod(0o755)
        path = f"{place / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
        env = {"PATH": path, "VIRTUALSERVER_CACHE": str(self.cache), "KUBEBUILDER_ASSETS": ""}
        return self.own.start_program([sys.executable, "-m", "lab", "assets"], env)

    def calls(self, words: str) -> int:
        log = self.own.scratch / "calls"
        return log.read_text().splitlines().count(words) if log.exists() else 0

    def kept(self) -> set[str]:
        """Files in the cache, but for the locks, and in the temporary folder."""
        cached = {str(path.relative_to(self.cache)) for path in self.cache.rglob("*") if not path.is_dir()}
        return {path for path in cached if not path.endswith(".lock")} | {*map(str, self.own.temporary.rglob("*"))}


@pytest.fixture
def builder(own: OwnLab) -> Builder:
    """The cache is on the machine's disk."""
    return Builder(own, own.scratch / "cache")


def longest_silence(*commands: Command) -> float:
    """Seconds, while all of them run; each command for itself."""
    seen = [""] * len(commands)
    last = [time.monotonic()] * len(commands)
    longest = 0.0
    while any(command.running for command in commands):
        now = time.monotonic()
        for index, command in enumerate(commands):
            if not command.running:
                continue
            longest = max(longest, now - last[index])
            if command.out != seen[index]:
                seen[index], last[index] = command.out, now
        time.sleep(0.1)
    return longest


def test_two_builds_at_once_compile_once_and_both_say_what_they_wait_for(builder: Builder) -> None:
    with builder.start("sleep 12") as one, builder.start("sleep 12") as other:
        silence = longest_silence(one, other)
        ended = [one.finish(), other.finish()]
    assert [command.code for command in ended] == [0, 0], ended
    assert silence < 10
    assert all(f"kube-apiserver: {builder.cache / PROGRAM}\n" in command.out for command in ended)
    waited = "compiling kube-apiserver: waiting for another"  # for the others, either may
    assert sorted(waited in command.out for command in ended) == [False, True]
    assert builder.calls("mod download") == 1
    assert PROGRAM in builder.kept()
    assert all(path.split("/")[0].startswith(("kube-apiserver-", "kubectl-", "helm-")) for path in builder.kept())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_and_the_next_one_works(builder: Builder, number: signal.Signals) -> None:
    with builder.start('echo half >"$2"; sleep 60') as command:
        command.until(lambda: builder.calls("build -mod=mod"), "the compiler runs")
        time.sleep(0.3)
        command.signal_group(number)
        ended = command.finish()
    assert ended.code == 130
    assert ended.complaint == "lab: interrupted; nothing was left behind"
    assert working_inside(builder.cache) == []
    assert builder.kept() == set()
    with builder.start("true") as command:
        assert command.finish().code == 0
    assert PROGRAM in builder.kept()


def test_a_killed_build_takes_its_compiler_with_it_and_the_next_one_sweeps(builder: Builder) -> None:
    with builder.start('echo half >"$2"; exec sleep 60') as command:
        command.until(lambda: builder.calls("build -mod=mod"), "the compiler runs")
        os.kill(command.process.pid, signal.SIGKILL)
        command.finish()
    # The compiler is told of its parent's end by the kernel, and ends a moment later.
    assert any(working_inside(builder.cache) == [] for _ in wait_until(5))
    assert PROGRAM not in builder.kept()
    with builder.start("true") as command:
        assert command.finish().code == 0
    assert PROGRAM in builder.kept()
    assert not [path for path in builder.kept() if ".building" in path]


def test_a_full_cache_folder_is_said_with_what_could_not_be_written(own: OwnLab) -> None:
    own.folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "lab-test", str(own.folder)], check=True)
    builder = Builder(own, own.folder / "cache")
    with builder.start('head -c 2000000 /dev/zero >"$2" || exit 1') as command:
        ended = command.finish()
    assert ended.code == 1
    assert ended.complaint.startswith("lab: compiling kube-apiserver failed: the disk is full (")
    assert ended.complaint.endswith("No space left on device); make room and try again")
    assert builder.kept() == set()
