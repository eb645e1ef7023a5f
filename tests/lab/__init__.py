"""The lab: a real kernel with IPVS, a real API server and a small data centre, on one ordinary machine.

Tests, demo and benchmarks use it as a library (`Lab`, `ApiServer`), people through `python -m lab`.
README.md beside this file shows both. Names are imported when they are first used: `python3 -m lab setup` has to
run where only the standard library is, and Ctrl-C to work from the first moment.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.apiserver import ApiServer
    from lab.console import LabError
    from lab.hosts import CommandError, CommandTimeoutError, Host, Process, Result
    from lab.lab import Lab

__all__ = ["ApiServer", "CommandError", "CommandTimeoutError", "Host", "Lab", "LabError", "Process", "Result"]

_HOMES = {"ApiServer": "lab.apiserver", "LabError": "lab.console", "Lab": "lab.lab"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "lab.hosts")), name)
    return value
