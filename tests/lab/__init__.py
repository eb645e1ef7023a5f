"""The lab: a real kernel with IPVS, a real API server and a small data centre, on one ordinary machine.

Tests, demo and benchmarks use it as a library (`Lab`, `ApiServer`), people through `python -m lab`.
Importing this package needs nothing but the standard library, so `python3 -m lab setup` runs before any
virtual environment exists; README.md beside this file shows how to use it.
"""

from lab.apiserver import ApiServer
from lab.console import LabError
from lab.hosts import CommandError, CommandTimeoutError, Host, Process, Result
from lab.lab import Lab

__all__ = ["ApiServer", "CommandError", "CommandTimeoutError", "Host", "Lab", "LabError", "Process", "Result"]
