"""`python -m lab`: see cli.py."""

import sys


def _run() -> int:
    try:
        from lab import interrupts
        from lab.cli import main

        code = main()
        interrupts.ignore()
        return code
    except KeyboardInterrupt:  # while Python was still starting
        print("lab: interrupted; nothing was done", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(_run())
