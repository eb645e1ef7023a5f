"""A distribution kernel under emulation: system calls are cheap there, as on real machines, and everything is slow.

Debian's `linux-image-amd64` is unpacked once into the cache folder, never installed. `vng` boots it with the
machine's own file system read-only, runs one command and switches it off; it dies with us.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.console import LabError, say
from lab.gobuild import cache_folder
from lab.guest import CHECKOUT
from lab.progress import run_visibly

PACKAGES = {"qemu-system-x86": "qemu-system-x86_64", "busybox-static": "busybox", "kmod": "depmod"}
BOOT_AND_RUN = 1200
"""Seconds after which an emulated machine is given up."""


def prepare() -> Path:
    """The unpacked kernel's folder; whatever is missing is installed or fetched now."""
    if absent := [package for package, program in PACKAGES.items() if shutil.which(program) is None]:
        _apt(f"apt-get install {' '.join(absent)}", ["install", "-y", "--no-install-recommends", *absent])
    if not _vng().exists():
        raise LabError(f"{_vng()} is not there: pip install 'virtme-ng>=1.38,<2' (the extra `bench` of pyproject.toml)")
    folder = cache_folder() / "bench-kernel"
    if not _images(folder):
        _unpack(folder)
    return folder


def _unpack(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".bench-kernel-") as text:
        scratch = Path(text)
        shown = subprocess.run(
            ["apt-cache", "depends", "linux-image-amd64"], check=True, capture_output=True, text=True, timeout=60
        ).stdout
        image = next(line.split()[-1] for line in shown.splitlines() if "Depends:" in line)
        _apt(f"apt-get download {image}", ["download", image], scratch)
        fresh = scratch / "unpacked"
        fresh.mkdir()
        run_visibly("dpkg -x", ["dpkg", "-x", str(next(scratch.glob("*.deb"))), str(fresh)])
        release = _images(fresh)[0].name.removeprefix("vmlinuz-")
        run_visibly("depmod", ["depmod", "-b", str(fresh), release])
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


def run(command: list[str]) -> str:
    """Run a command of ours in the emulated machine as root; returns what it wrote to stdout."""
    image = _images(prepare())[-1]
    with tempfile.TemporaryDirectory(prefix="vs-bench-", dir="/var/tmp") as text:
        folder = Path(text)
        path = f"{CHECKOUT / 'operator'}:{CHECKOUT / 'tests'}"
        (folder / "run").write_text(
            f"modprobe ip_vs\nexport PYTHONPATH={path} PYTHONDONTWRITEBYTECODE=1\ncd {CHECKOUT}\n"
            f"{shlex.join(command)} >{folder}/out 2>{folder}/err\necho $? >{folder}/code\n"
        )
        vng = [str(_vng()), "--run", str(image), "--disable-kvm", "--cpus", "1", "--memory", "1G"]
        say(f"bench: booting {image.name} under emulation, about 20 s, then measuring for minutes")
        done = _bounded([*vng, f"--rwdir={folder}", "--verbose", "--", f"sh {folder}/run"])
        answers = {file.name: file.read_text() for file in folder.iterdir()}
    if answers.get("code", "").strip() != "0":
        words = answers.get("err") or answers.get("out") or done.stdout + done.stderr
        raise LabError(f"in the emulated machine: {words.strip()[-1500:]}")
    return answers["out"]


def _bounded(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run with a bound; QEMU is a grandchild, so the whole session is killed when anything interrupts us."""
    environment = {**os.environ, "PATH": f"{_vng().parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=BOOT_AND_RUN)
    except BaseException as error:
        os.killpg(process.pid, 9)
        process.wait(10)
        if isinstance(error, subprocess.TimeoutExpired):
            raise LabError(f"the emulated machine did not end within {BOOT_AND_RUN} s") from error
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _images(folder: Path) -> list[Path]:
    return sorted((folder / "boot").glob("vmlinuz-*"))


def _vng() -> Path:
    return Path(sys.executable).parent / "vng"


def _apt(title: str, arguments: list[str], where: Path | None = None) -> None:
    run_visibly(title, ["apt-get", *arguments], {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, where)
