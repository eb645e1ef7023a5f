"""``python -m virtualserver``."""

import sys

from virtualserver.cli import main

sys.exit(main())
