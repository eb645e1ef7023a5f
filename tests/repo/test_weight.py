"""What programs of ours must not load: every node would pay for it."""

from __future__ import annotations

import subprocess
import sys


def test_the_command_loads_no_library_of_the_cluster() -> None:
    heavy = "{'kopf', 'kubernetes', 'aiohttp'}"
    code = f"import sys, virtualserver.machine.command; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
