"""Directors as machines of their own, one of which loses its power."""

from __future__ import annotations

from e2e.world import VIP, Cluster, eventually, virtual_server
from lab import names
from lab.lab import Lab


def test_a_standby_that_crashes_disturbs_nobody_and_a_crashed_director_is_seen() -> None:
    with Lab(names.beside(names.of_tests(), "three"), topology="three", quiet=True) as lab:
        cluster = Cluster(lab)
        cluster.serve(virtual_server(), "3/3")
        with cluster.load("fetch", 80) as clients:
            lab.crash("director-2")
            cluster.fetch(20)
            seen = clients.finish()
        assert seen["failures"] == []
        lab.crash("director-1")
        answer = lab.host("client").run(f"curl -sS --max-time 2 http://{VIP}/", check=False)
        assert answer.code != 0
        eventually(lambda: cluster.condition("Available").get("status") == "Unknown", 30, "Unknown")
        lab.boot("director-1")
        cluster.available(ready="3/3", seconds=60)
        assert len(cluster.fetch(3)) == 3
