"""One lab for all tests that need one, and what a person needs when a test fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import interrupts, names
from lab.lab import Lab
from workers import Workers

TESTS = Path(__file__).resolve().parent
SHARING = {"e2e", "kernel", "labtests", "vrrp"}
"""Folders of tests whose machines are emulated, or many."""
ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
HISTORIES = ARTIFACTS / "histories"
"""Of every test with two directors: who owned each address over time, what kernels held, what clients saw."""


def pytest_configure(config: pytest.Config) -> None:
    """A polite kill ends the tests as Ctrl-C does, and while they tidy up a second signal is not heard."""
    interrupts.listen(deaf=30)
    config.pluginmanager.register(Workers())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Emulated machines share their processor with whatever else runs: a test of them that fails is run once more.

    The summary tells (`rerun`); what is really broken fails twice.
    """
    for item in items:
        if SHARING & set(item.path.relative_to(TESTS).parts):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=5))


def pytest_unconfigure() -> None:
    """The exit code is decided."""
    interrupts.ignore()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab with everything running; booted once, by the first test that asks.

    Its folder is always the same, so that what a killed run left is found and removed by the next. Another name
    (1 to 8 letters and digits) lets a second checkout be tested at the same time.
    """
    with Lab(names.of_tests(), quiet=True) as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Leave what a person needs for every failed test: logs, tables, addresses and routes of its lab, its history."""
    report = yield
    used = getattr(item, "funcargs", {})
    made = next((one for one in used.values() if isinstance(one, Lab)), None)
    name = item.nodeid.replace("/", "_").replace("::", "-")[-100:]
    if (attempt := getattr(item, "execution_count", 1)) > 1:
        name += f"-try-{attempt}"
    history = getattr(used.get("pair"), "history", None)
    if history is not None and report.when == "call":
        history.save(HISTORIES / f"{name}.json")
        measured = [(f"{item.name}: {what}", f"{value:.3g}") for what, value in history.figures]
        report.user_properties.extend(measured)
    if report.failed and report.when in ("setup", "call") and made is not None:
        folder = ARTIFACTS / name
        try:
            report.sections.append(("guests", "\n".join(guest.state() for guest in made.guests.values())))
            made.artifacts(folder)
            report.sections.append(("artifacts", f"logs, ipvsadm -Ln, addresses, routes: {folder}"))
            if history is not None:
                report.sections.append(("history", f"owners, kernels, clients over time: {HISTORIES / name}.json"))
        except Exception as error:
            report.sections.append(("artifacts", f"could not be collected: {error}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured, whoever ran them; and why some had to be run again."""
    measured = [one for one in terminalreporter.getreports("passed") if one.when == "call"]
    figures = [f"{name}: {value}" for one in measured for name, value in one.user_properties]
    again = [f"{one.nodeid}: {_reason(one)}" for one in terminalreporter.getreports("rerun")]
    _section(terminalreporter, "figures", figures)
    _section(terminalreporter, "why tests were run again", again)


def _section(reporter: pytest.TerminalReporter, title: str, lines: list[str]) -> None:
    if lines:
        reporter.section(title)
        for line in lines:
            reporter.write_line(line)


def _reason(report: pytest.TestReport) -> str:
    """What failed, in a line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return " | ".join(str(crash.message if crash is not None else report.longrepr).splitlines()[:3])
