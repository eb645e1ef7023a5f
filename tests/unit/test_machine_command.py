"""Options, files and printed texts of ``virtualserver real-server``."""

from __future__ import annotations

import argparse
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from virtualserver.agent.record import RecordError
from virtualserver.cli import main
from virtualserver.kernel.modules import absent
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.ways import Way
from virtualserver.machine import arguments, options, store
from virtualserver.machine.options import OptionError
from virtualserver.machine.script import script
from virtualserver.model.types import IPAddress
from virtualserver.plan.machine import Entry

DIRECT = ["--address", "198.18.0.100", "--mode", "DirectRouting"]
TUNNEL = ["--address", "198.18.0.100", "--mode", "Tunnel", "--director", "198.18.0.11"]
KINDS = [[], ["--tunnel", "GUE", "--port", "6081"], ["--tunnel", "GRE", "--checksum"], ["--mtu", "9000"]]
BOTH = ["--address", "fd00:18::100", "--director", "fd00:18::11"]


def parse(*words: str, verb: str = "apply") -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    arguments.add(parser)
    return parser.parse_args([verb, *words])


def way(peer: IPAddress) -> Way:
    if peer == ip_address("198.51.100.1"):
        raise KernelError(f"this machine has no route to {peer}: Network is unreachable")
    return Way(ip_address("198.18.0.21" if peer.version == 4 else "fd00:18::21"), 1400)


def entries(*words: str) -> dict[IPAddress, Entry]:
    return options.entries(parse(*words), way)


def test_local_addresses_and_mtu_are_those_of_the_ways_to_the_directors() -> None:
    made = entries(*TUNNEL, *BOTH)
    assert set(made) == {ip_address("198.18.0.100"), ip_address("fd00:18::100")}
    for one in made.values():
        assert one.local == {ip_address("198.18.0.21"), ip_address("fd00:18::21")}
        assert one.mtu == 1400


def test_local_addresses_and_mtu_may_be_given() -> None:
    one = entries(*TUNNEL, "--local", "198.18.0.22", "--mtu", "1280")[ip_address("198.18.0.100")]
    assert (one.local, one.mtu) == (frozenset({ip_address("198.18.0.22")}), 1280)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--address", "224.0.0.1", "--mode", "DirectRouting"], "--address 224.0.0.1: must not be a multicast address"),
        (["--address", "web", "--mode", "DirectRouting"], "--address web: must be an IPv4 or IPv6 address"),
        ([*DIRECT, "--director", "::1"], "--director ::1: must not be a loopback address"),
        ([*DIRECT, "--tunnel", "IPIP"], "--tunnel IPIP: may be set only with mode Tunnel"),
        ([*DIRECT, "--port", "6080"], "--port 6080: may be set only with type GUE; remove it"),
        ([*TUNNEL, "--port", "6080"], "--port 6080: may be set only with type GUE"),
        ([*TUNNEL, "--tunnel", "GUE", "--port", "70000"], "--port 70000: Input should be less than or equal to 65535"),
        ([*TUNNEL, "--checksum"], "--checksum: must not be set with type IPIP"),
        ([*TUNNEL, "--mtu", "20"], "--mtu 20: must be 576 to 65535 bytes"),
        ([*TUNNEL, "--local", "fd00:18::21"], "--director 198.18.0.11: no --local is IPv4"),
        ([*TUNNEL, "--local", "198.18.0.100"], "--local 198.18.0.100: is a virtual address"),
        ([*TUNNEL, "--director", "198.18.0.100"], "--director 198.18.0.100: is a virtual address"),
        ([*TUNNEL, "--director", "198.51.100.1"], "--director 198.51.100.1: this machine has no route"),
        ([*TUNNEL, "--director", "198.18.0.21"], "--director 198.18.0.21: is this machine itself"),
        (["--address", "198.18.0.100", "--mode", "Tunnel"], "--director: mode Tunnel needs at least one"),
    ],
)
def test_an_option_that_cannot_be_used_is_named_with_its_value(words: list[str], said: str) -> None:
    with pytest.raises(OptionError) as raised:
        entries(*words)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_asked_for_is_read_as_it_was_written(kind: list[str], tmp_path: Path) -> None:
    before = entries(*DIRECT)
    asked = {one: entry.keeping(before.get(one)) for one, entry in entries(*TUNNEL, *BOTH, *kind).items()}
    store.save(tmp_path, asked)
    assert store.load(tmp_path) == asked
    store.save(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    assert store.load(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "{}", '{"version":1,"addresses":{"x":{}}}', '{"version":2,"addresses":{}}'])
def test_a_file_that_cannot_be_understood_is_an_error_not_an_empty_one(text: str, tmp_path: Path) -> None:
    (tmp_path / store.NAME).write_text(text)
    with pytest.raises(RecordError, match=store.NAME):
        store.load(tmp_path)


def test_a_script_cannot_keep_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["real-server", "apply", *DIRECT, "--keep", "--print-script"]) == 2
    assert "--keep: a script cannot know" in capsys.readouterr().err


def test_a_script_called_wrongly_says_how_and_does_nothing(tmp_path: Path) -> None:
    path = tmp_path / "real-server.sh"
    path.write_text(script(entries(*DIRECT), tmp_path / "state"))
    done = subprocess.run(["sh", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "apply|remove" in done.stderr
    assert not (tmp_path / "state").exists()


def test_the_unit_calls_the_command_with_the_options_that_it_was_printed_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*TUNNEL, "--tunnel", "GUE", "--port", "6081", "--checksum", "--local", "198.18.0.21", "--mtu", "9000"]
    assert main(["real-server", "unit", *words]) == 0
    lines = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines() if "=" in line)
    start = lines["ExecStart"].split(" real-server ")[1].split()
    given = parse(*start[1:], verb=start[0])
    assert options.entries(given, way) == entries(*words)
    stop = lines["ExecStop"].split(" real-server ")[1].split()
    assert parse(*stop[1:], verb=stop[0]).address == ["198.18.0.100"]


def test_modules_are_absent_that_are_neither_loaded_nor_built_in_nor_on_disk(tmp_path: Path) -> None:
    assert absent({"fou"}, tmp_path, "6.1") == frozenset(), "nothing is known"
    folder = tmp_path / "lib/modules/6.1"
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text("kernel/net/ipv4/ipip.ko.xz: kernel/net/ipv4/tunnel4.ko.xz\nfou-x.ko:\n")
    (folder / "modules.builtin").write_text("kernel/drivers/net/dummy.ko\n")
    (tmp_path / "sys/module/sit").mkdir(parents=True)
    assert absent({"ipip", "dummy", "sit", "fou", "fou_x"}, tmp_path, "6.1") == {"fou"}
