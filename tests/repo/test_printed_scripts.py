"""What `virtualserver real-server` prints, held to the programs that read it: seconds, so these are no unit tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unit.test_machine_command import BOTH, DIRECT, KINDS, TUNNEL, entries
from virtualserver.cli import main
from virtualserver.machine.script import script

SHELLCHECK = Path(sys.executable).with_name("shellcheck")


@pytest.mark.parametrize("words", [DIRECT, *([*TUNNEL, *kind] for kind in KINDS), [*TUNNEL, *BOTH]])
def test_the_script_has_no_slips(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "real-server.sh"
    path.write_text(script(entries(*words), Path("/var/lib/it's here")))
    done = subprocess.run([SHELLCHECK, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("by_script", [True, False])
def test_systemd_takes_the_unit(by_script: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "100% mine.sh"
    words = ["--script", str(odd)] if by_script else ["--state-dir", str(odd)]
    code = main(["real-server", "unit", *TUNNEL, "--tunnel", "GUE", "--local", "198.18.0.21", *words])
    unit = tmp_path / "real-server.service"
    unit.write_text(capsys.readouterr().out)
    assert code == 0
    analyze = shutil.which("systemd-analyze")
    assert analyze is not None, "Debian has it in the package systemd"
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, complaints) == (0, []), done.stderr
