"""Where the lab takes its programs from, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import assets, gobuild
from lab.console import LabError
from lab.progress import run_visibly


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("VIRTUALSERVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_the_named_folder_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = program(tmp_path / "given" / "kube-apiserver", "true")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(given.parent))
    assert assets.find("kube-apiserver") == given


def test_a_named_folder_without_the_server_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(LabError, match="has no kube-apiserver"):
        assets.find("kube-apiserver")


def test_a_kubectl_that_works_is_taken_from_the_path(tmp_path: Path) -> None:
    found = program(tmp_path / "bin" / "kubectl", "echo 'Client Version: v1.36.0'")
    assert assets.find("kubectl") == found


@pytest.mark.parametrize("answer", ["exit 1", "echo 'Client Version: v1.20.0'", "echo nonsense"])
def test_one_that_does_not_is_passed_over(tmp_path: Path, answer: str) -> None:
    program(tmp_path / "bin" / "kubectl", answer)
    cached = program(tmp_path / "cache" / f"kubectl-{assets.KUBERNETES}" / "kubectl", "true")
    assert assets.find("kubectl") == cached


def test_without_go_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="no `go` on PATH"):
        gobuild.build("helm", assets.SOURCES["helm"])


def test_a_failed_build_shows_its_last_lines_and_leaves_nothing(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "go", "echo could not reach anything; exit 3")
    with pytest.raises(LabError, match=r"code 3(.|\n)*could not reach anything"):
        gobuild.build("helm", assets.SOURCES["helm"])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"helm-{assets.HELM}.lock"]


def test_what_an_earlier_build_left_is_swept_away(tmp_path: Path) -> None:
    leftover = tmp_path / "cache" / ".building-helm-abc"
    leftover.mkdir(parents=True)
    program(tmp_path / "bin" / "go", 'while [ "$1" != -o ]; do shift; done; echo "#!/bin/sh" >"$2"; chmod 755 "$2"')
    built = gobuild.build("helm", assets.SOURCES["helm"])
    assert built == tmp_path / "cache" / f"helm-{assets.HELM}" / "helm"
    assert built.exists()
    assert not leftover.exists()


def test_a_full_disk_is_said_in_one_line() -> None:
    with pytest.raises(LabError, match="the disk is full"):
        run_visibly("compiling", ["sh", "-c", "echo write x: no space left on device; exit 1"])
