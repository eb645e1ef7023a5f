"""The lab's programs are what runs under their names, whatever ran before."""

from __future__ import annotations

from pathlib import Path

from lab.hosts import Door, Host, Process
from lab.product import Agent, Keepalived


class Booted(Host):
    """A host whose guest says which processes it has."""

    def __init__(self) -> None:
        super().__init__("director-1", Door("127.0.0.1", 9, ""), Path())
        self.names: list[str] = []

    def processes(self) -> list[Process]:
        return [Process(self.door, name, number, Path()) for number, name in enumerate(self.names, 700)]


def test_a_process_that_got_the_number_of_a_former_one_is_not_taken_for_it() -> None:
    host = Booted()
    agent, keepalived = Agent(host, Path()), Keepalived(host, Path())
    host.names = ["agent-director-1", "keepalived-director-1"]
    assert agent.running
    assert keepalived.running
    host.names = ["keepalived-director-1", "agent-director-1"]  # booted again, and started in another order
    assert [one.process and one.process.pid for one in (agent, keepalived)] == [701, 700]
    host.names = ["keepalived-director-1"]
    assert not agent.running
