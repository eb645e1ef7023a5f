"""`python -m bench [--quick]`: run all, print the table, write `bench-results.jsonl`."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import failover, forwarding, latency, programming, usage
from bench.figures import RESULTS, Figure, table, write
from lab import interrupts
from lab.console import complain, say
from lab.lab import Lab


def main() -> int:
    """Code 0 only if everything was measured; what was measured is shown in any case."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds and changes: does it run at all?")
    quick = parser.parse_args().quick
    interrupts.listen()
    figures: list[Figure] = []
    failures: list[str] = []

    def part(name: str, measure: Callable[[], list[Figure]]) -> None:
        say(f"bench: {name}")
        try:
            figures.extend(measure())
        except Exception as error:
            complain(f"{name}: {error}")
            failures.append(f"NOT MEASURED: {name}: {error}")
        write(figures)

    try:
        part("agent, native", usage.native)
        part(
            "programming, distribution kernel under emulation",
            lambda: programming.in_distribution_kernel(*((10, 2) if quick else (100, 4))),
        )
        part("everything in the lab", lambda: _in_lab(part, quick))
        part("failover", lambda: failover.in_lab(failover.QUICK if quick else failover.FULL, missed=failures))
    except KeyboardInterrupt:
        failures.append("interrupted")
    print(f"\n{table(figures)}\n\n{len(figures)} figures in {RESULTS}")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


def _in_lab(part: Callable[[str, Callable[[], list[Figure]]], None], quick: bool) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="vs-bench-", dir="/var/tmp") as folder,
        Lab("bench", Path(folder) / "lab") as lab,
    ):
        part("forwarding", lambda: forwarding.measure(lab, *((1, 1) if quick else (6, 2))))
        part("changes", lambda: latency.measure(lab, *((10, 20) if quick else (100, 500))))
        part("agent in the guest", lambda: [usage.import_in_guest(lab)])
        part("programming, User-Mode Linux", lambda: programming.in_guest(lab, *((2, 2) if quick else (20, 2))))
    return []


if __name__ == "__main__":
    sys.exit(main())
