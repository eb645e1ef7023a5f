"""`python -m lab`: see cli.py."""

import sys

try:
    from lab.cli import main
except KeyboardInterrupt:  # Ctrl-C while Python was still starting
    print("lab: interrupted; nothing was done", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
