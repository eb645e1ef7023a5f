"""Logging: one line per event, text or JSON (``LOG_FORMAT=json``), with the fields of ``extra`` as key=value."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """``TIME LEVEL logger: message key=value ...``, or the same as one JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return one line (and a traceback after it where there is one)."""
        fields = {name: str(value) for name, value in vars(record).items() if name not in _STANDARD}
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        time = self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}"
        if self._json:
            made: dict[str, Any] = {"time": time, "level": record.levelname, "logger": record.name}
            made |= {"message": record.getMessage(), **fields}
            return json.dumps(made | ({"trace": trace} if trace else {}))
        words = "".join(f" {name}={value}" for name, value in fields.items() if not name.startswith("k8s_"))
        line = f"{time} {record.levelname.lower()} {record.name}: {record.getMessage()}{words}"
        return f"{line}\n{trace}" if trace else line


def set_up_logging() -> None:
    """Send everything from INFO up (``LOG_LEVEL``) to standard error in our format."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(as_json=os.environ.get("LOG_FORMAT") == "json"))
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), handlers=[handler], force=True)
    for name in ("kopf", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
