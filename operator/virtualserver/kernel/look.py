"""One look around for preflight: links, routes, reverse-path filters, and who answers what. Changes nothing."""

from __future__ import annotations

from pathlib import Path

from virtualserver.kernel import duplicates, echo, routes
from virtualserver.kernel.links import IFF_LOWER_UP, IFF_UP, Link, Links
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.sysctls import Sysctls
from virtualserver.model.facts import Facts, LinkFact, Questions


class Looker:
    """Blocking, in a thread of its own; opens its sockets for each look. Raises KernelError."""

    def __init__(self, proc_sys: Path = Path("/proc/sys"), deadline: float = 2.0) -> None:
        """``proc_sys`` is where the kernel's settings are mounted; ``deadline`` in seconds bounds each question."""
        self._sysctls, self._deadline = Sysctls(proc_sys), deadline

    def links(self) -> dict[str, LinkFact]:
        """Return what is so of each link."""
        return self._facts(self._read())

    def look(self, asked: Questions) -> Facts:
        """Answer all questions; 1 to 4 seconds for 64 real servers that are asked something, else milliseconds."""
        links = self._read()
        try:
            twice = duplicates.find(asked.held, links)
            pings, trials = echo.ask(sorted(asked.pings, key=str), sorted(asked.trials, key=str))
        except OSError as error:
            raise KernelError(f"cannot ask the neighbours: {error.strerror}") from error
        known = routes.read(sorted(asked.routes, key=str), links, self._deadline)
        return Facts(self._facts(links), known, twice, pings, trials)

    def _read(self) -> dict[str, Link]:
        reader = Links(self._deadline)
        try:
            return reader.read()[0]
        finally:
            reader.close()

    def _facts(self, links: dict[str, Link]) -> dict[str, LinkFact]:
        names = {name: f"net.ipv4.conf.{name.replace('.', '/')}.rp_filter" for name in links}
        values = self._sysctls.read((*names.values(), "net.ipv4.conf.all.rp_filter"))
        strictest = int(values.get("net.ipv4.conf.all.rp_filter", "0"))
        return {
            name: LinkFact(
                link.mtu,
                bool(link.flags & IFF_UP and link.flags & IFF_LOWER_UP),
                int(values.get(names[name], "0")),
                strictest,
            )
            for name, link in links.items()
        }
