"""The rights that the chart gives to keepalived's container are enough for it to do its work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chart.rendering import documents, one
from virtualserver.model.failover import Instance
from virtualserver.model.operations import Allow, ConfigureInstances
from vrrp.directors import GROUP, ROUTER, VIP, Director, eventually, segment


def container() -> Any:
    pod = one(documents(), "DaemonSet", "virtualserver-agent")["spec"]["template"]["spec"]
    return next(entry for entry in pod["containers"] if entry["name"] == "keepalived")


def confined(run_dir: Path) -> list[str]:
    """Return the command that runs another one as the container would: only the run directory can be written."""
    security = container()["securityContext"]
    assert security["readOnlyRootFilesystem"]
    added = ",".join(f"+{name.lower()}" for name in security["capabilities"]["add"])
    mounts = f'mount --bind {run_dir} {run_dir} && mount -o remount,bind,ro / && exec "$@"'
    rights = ["setpriv", "--no-new-privs", f"--bounding-set=-all,{added}", f"--inh-caps=-all,{added}"]
    return ["unshare", "--mount", "sh", "-c", mounts, "sh", *rights]


def test_keepalived_does_its_work_with_the_rights_of_its_container(tmp_path: Path) -> None:
    with segment(tmp_path, 1) as [only]:
        only.instances = (Instance(GROUP, ROUTER, "eth0", 100, 3, 250, addresses=VIP),)
        only.do(ConfigureInstances(only.instances))
        only.start(confined(only.run_dir))
        eventually(lambda: only.call(lambda: only.kernel.apply([Allow(GROUP)]))[0].ok)
        eventually(only.holds)
        assert priority(only, "vrrp") > 0
        before = only.pid("vrrp")
        only.kill("vrrp")
        eventually(lambda: not only.addresses() & {*VIP})
        eventually(lambda: (only.run_dir / "vrrp.pid").exists() and only.pid("vrrp") != before)
        only.stop()
        assert "ermission" not in only.log.read_text()


def priority(director: Director, which: str) -> int:
    """Return the real-time priority of a process, 0 for none (``proc_pid_stat(5)``)."""
    fields = Path(f"/proc/{director.pid(which)}/stat").read_text().rpartition(")")[2].split()
    return int(fields[37])
