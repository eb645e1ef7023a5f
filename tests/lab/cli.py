"""The lab's command line: `python -m lab --help`. Says one clear line on every failure, never a traceback."""

import argparse
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab import assets, cleanup, exclusive, interrupts, links, network, packages, processes, room, venv
from lab.console import LabError, complain, say
from lab.lab import Lab

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    interrupts.listen()
    try:
        return int(options.run(options) or 0)
    except LabError as error:
        complain(str(error))
    except KeyboardInterrupt:
        complain(f"interrupted; {options.interrupted}")
        return INTERRUPTED
    except BrokenPipeError:
        if options.run is _up:
            complain(f"nobody reads what it says any more; {options.interrupted}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except subprocess.TimeoutExpired as error:
        complain(f"no answer in {error.timeout:g} s from: {error.cmd}")
    except OSError as error:
        hint = "; make room and try again" if error.errno == errno.ENOSPC else ""
        complain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ") + hint)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="A data centre with IPVS and an API server, to play with.")
    parser.set_defaults(interrupted="nothing was left behind")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("setup", help="install and build what the tasks need").set_defaults(run=_setup)
    commands.add_parser("venv", help="print where the Python environment is").set_defaults(run=_venv)
    commands.add_parser("assets", help="find or compile the programs, print where they are").set_defaults(run=_assets)
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--name", default="lab", help="several labs live side by side by name (default: lab)")
    which.add_argument("--folder", type=Path, help="where its files are (default: .lab in the checkout)")
    up = commands.add_parser("up", parents=[which], help="bring the lab up; it stays up")
    up.add_argument("--topology", choices=list(network.TOPOLOGIES), help="how many guests (default: one)")
    up.set_defaults(run=_up, interrupted="nothing of the lab is left")
    down = commands.add_parser("down", parents=[which], help="remove every trace of it")
    down.add_argument("--all", action="store_true", help="those of every other name and folder on this machine too")
    down.set_defaults(run=_down, interrupted="run it again to finish")
    execute = commands.add_parser("exec", parents=[which], help="run a command on a host")
    execute.add_argument("host", help="client, director-1, rs-1, ...; `guest` is the root namespace")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="one word goes to a shell")
    execute.set_defaults(run=_exec, interrupted="the command was ended on the host too")
    commands.add_parser("status", parents=[which], help="what runs").set_defaults(run=_status)
    logs = commands.add_parser("logs", parents=[which], help="the last lines of the logs")
    logs.add_argument("log", nargs="?", help="all of this one, e.g. controller, agent-director-1")
    logs.set_defaults(run=_logs)
    kubectl = commands.add_parser("kubectl", parents=[which], help="kubectl on the lab's API server")
    kubectl.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    kubectl.set_defaults(run=_kubectl)
    return parser


def _setup(_options: argparse.Namespace) -> None:
    packages.install()
    venv.ensure()
    assets.find_all()


def _venv(_options: argparse.Namespace) -> None:
    say(str(venv.ensure()))


def _assets(_options: argparse.Namespace) -> None:
    for name, path in assets.find_all().items():
        say(f"{name}: {path}")


def _up(options: argparse.Namespace) -> int:
    lab = Lab(options.name, options.folder, options.topology or "one")
    try:
        if not lab.up():
            if options.topology not in (None, lab.topology):
                wanted = f"not {options.topology}; run first: {lab.command('down')}"
                raise LabError(f"the lab in {lab.folder} is up with topology {lab.topology}, {wanted}")
            if dead := lab.dead_parts():
                raise LabError(f"the lab in {lab.folder} is up, but dead: {_listed(dead)}; run: {lab.command('down')}")
            say(f"the lab in {lab.folder} is already up (topology {lab.topology})")
        _usage(lab)
        return _report_dead(lab)
    except (KeyboardInterrupt, BrokenPipeError):
        if lab.is_up:  # too late, or it was before
            options.interrupted = f"the lab stays up; to end it: {lab.command('down')}"
        raise


def _report_dead(lab: Lab) -> int:
    """A program that died at once is the person's next question; the lab stays up to look at it."""
    dead = lab.dead_parts()
    for name in dead:
        log = lab.folder / "logs" / f"{name}.log"
        complain(f"{name} has died; its last lines, from {log}:\n  {processes.last_lines(log, 6)}")
    return 1 if dead else 0


def _usage(lab: Lab) -> None:
    inside = lab.folder.is_relative_to(Path.cwd())
    config = lab.api.kubeconfig.relative_to(Path.cwd()) if inside else lab.api.kubeconfig
    kubectl = assets.find("kubectl")
    say(f"""
The lab is up ({lab.steps.elapsed:.0f} s). Its hosts: {" ".join(host.name for host in network.HOSTS)}
  API          {"kubectl" if shutil.which("kubectl") == str(kubectl) else kubectl} --kubeconfig {config} get nodes
  a command    {_execute(lab, "client", "curl -s http://198.18.0.21/")}
               {_execute(lab, "rs-2", "service-ctl stop web")}
               {_execute(lab, "director-1", "ipvsadm -Ln")}
  clients      198.18.0.0/24, fd00:18::/64: client .2, directors .11 .12, real servers .21 .22 .23, VIPs .100-.199
  servers      198.18.1.0/24, fd00:18:1::/64: directors .11 .12, real servers .21 .22 .23, gateway .1
  logs         {lab.folder}/logs
  end          {lab.command("down")}""")


def _execute(lab: Lab, host: str, command: str) -> str:
    """What a person types to run a command on a host of that lab."""
    line = lab.command("exec")
    return f"{line} HOST={host} CMD='{command}'" if line.startswith("make") else f"{line} {host} '{command}'"


def _down(options: argparse.Namespace) -> None:
    labs: list[tuple[str, Path | None]] = [(options.name, options.folder)]
    if options.all:
        labs += [(link.lab, Path(link.folder)) for link in links.all_labs()]
        labs += [(options.name, folder) for folder in processes.marked_folders()]  # API servers on their own
    for name, folder in dict.fromkeys(labs):
        lab = Lab(name, folder)
        for line in lab.down(insist=True) or ["nothing to remove"]:
            say(f"lab-down{'' if name == 'lab' else f' {name}'}: {line}")
        if not options.all and (other := cleanup.foreign_owner(name, lab.folder)):
            say(f"a lab of that name is up in {other}; to remove it: {Lab(name, Path(other)).command('down')}")


def _running(options: argparse.Namespace) -> Lab:
    lab = Lab(options.name, options.folder)
    if not lab.is_up:
        raise LabError(f"no lab is up in {lab.folder}; run: {lab.command('up')}")
    return lab


def _exec(options: argparse.Namespace) -> int:
    lab = _running(options)
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not options.host or not "".join(words).strip():
        wanted = "command" if options.host else "host"
        raise LabError(f"exec needs a {wanted}; for example: {_execute(lab, 'client', 'curl -s http://198.18.0.21/')}")
    root = {"guest": "a", **{guest.name: letter for letter, guest in lab.guests.items()}}.get(options.host)
    guest = lab.guests[root] if root else lab.guest_of(options.host)
    if not guest.alive:
        raise LabError(f"{guest.name} is dead; run: {lab.command('down')}")
    return guest.host("" if root else options.host).stream(words[0] if len(words) == 1 else words)


def _status(options: argparse.Namespace) -> int:
    lab = Lab(options.name, options.folder)
    if not lab.is_up:
        found = cleanup.traces(lab.name, lab.folder)
        if pid := exclusive.holder(lab.folder):
            say(f"a command (pid {pid}) is bringing it up or down")
        else:
            say("down" + (f", but there are left-overs: {_listed(found)}; run: {lab.command('down')}" if found else ""))
        return 1
    parts = lab.parts()
    for name, alive in parts.items():
        say(f"{name:<18} {'running' if alive else 'dead'}")
    for guest in lab.guests.values():
        for host in guest.hosts if guest.alive else []:
            running = [process.name for process in guest.host(host).processes()]
            say(f"{host:<18} in {guest.name}: {', '.join(running) or 'no background processes'}")
    if full := room.shortage([lab.folder, room.SHARED_MEMORY]):
        complain(full)
    return 0 if all(parts.values()) else 1


def _listed(words: list[str]) -> str:
    """Enough of them for one line."""
    return ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")


def _logs(options: argparse.Namespace) -> None:
    folder = Lab(options.name, options.folder).folder / "logs"
    chosen = sorted(folder.glob(f"{options.log or '*'}.log"))
    if not chosen:
        raise LabError(f"no log {options.log or ''} in {folder}")
    for path in chosen:
        lines = path.read_text(errors="replace").splitlines()
        say(f"== {path}")
        say("\n".join(lines if options.log else lines[-10:]))


def _kubectl(options: argparse.Namespace) -> int:
    lab = _running(options)
    command = lab.api.kubectl_command(*options.words)
    return subprocess.run(command, check=False, env=processes.environment(lab.folder)).returncode
