"""Logging: one line per event, for people (text) or machines (``LOG_FORMAT=json``).

A line has a time (UTC), a level, where it comes from, what happened, and the fields given as ``extra``::

    2026-11-24T00:30:01.123Z info virtualserver.agent.loop: real server down server=198.18.1.21:80 reason=NoRoute
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOISY = ("kopf", "aiohttp", "asyncio")


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller gave as ``extra``; kopf's copies of whole objects are left out."""
    given = vars(record).items()
    return {name: value for name, value in given if name not in _STANDARD and not name.startswith("k8s_")}


class TextFormatter(logging.Formatter):
    """``TIME level logger: message key=value ...``; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        words = "".join(f" {name}={_plain(value)}" for name, value in fields(record).items())
        message = record.getMessage().replace("\n", "\\n")
        line = f"{_time(record)} {record.levelname.lower()} {record.name}: {message}{words}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """The same as one JSON object; a traceback is its member ``trace``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        made: dict[str, Any] = {"time": _time(record), "level": record.levelname, "logger": record.name}
        made["message"] = record.getMessage()
        if record.exc_info:
            made["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields(record) | made, default=str, ensure_ascii=False)


def set_up_logging(environment: Mapping[str, str] = os.environ) -> None:
    """Send all logs to standard error. ``LOG_FORMAT``: text (default) or json; ``LOG_LEVEL``: INFO by default.

    An unknown value means the default and a warning: logging is no reason not to start.
    """
    form, level = environment.get("LOG_FORMAT", "text"), environment.get("LOG_LEVEL", "INFO").upper()
    known = level in logging.getLevelNamesMapping()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=level if known else "INFO", force=True)
    logging.captureWarnings(True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    if not known or form not in ("text", "json"):
        logging.getLogger(__name__).warning(
            "LOG_FORMAT must be text or json, LOG_LEVEL a level such as DEBUG",
            extra={"log_format": form, "log_level": level},
        )


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _plain(value: Any) -> str:
    """Return a value as one word: quoted when it would not be read as one."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(char in text for char in ' "\n\t') else text
