from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from virtualserver.telemetry import JsonFormatter, TextFormatter, set_up_logging


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def record(message: str = "down", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("virtualserver.x", logging.INFO, "x.py", 1, message, (), None)
    made.created, made.msecs = 0.0, 7.0
    vars(made).update(extra)
    return made


def test_a_line_of_text() -> None:
    line = TextFormatter().format(record(server="198.18.1.21:80", why='no "route"', k8s_ref={}, count=0))
    assert line == (
        '1970-01-01T00:00:00.007Z info virtualserver.x: down server=198.18.1.21:80 why="no \\"route\\"" count=0'
    )


def test_a_message_of_several_lines_is_one_line() -> None:
    assert "\n" not in TextFormatter().format(record("a\nb", note="c\nd"))


def test_a_line_of_json() -> None:
    made = json.loads(JsonFormatter().format(record(reason="NoRoute", level="mine")))
    assert made == {
        "time": "1970-01-01T00:00:00.007Z",
        "level": "INFO",
        "logger": "virtualserver.x",
        "message": "down",
        "reason": "NoRoute",
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_kept(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging({"LOG_FORMAT": form})
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("virtualserver.x").exception("failed")
    assert "ValueError: boom" in capsys.readouterr().err


@pytest.mark.parametrize("given", [{"LOG_FORMAT": "xml"}, {"LOG_LEVEL": "loud"}])
def test_unknown_settings_are_told_and_do_no_harm(given: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(given)
    logging.getLogger("virtualserver.x").info("hello")
    told = capsys.readouterr().err
    assert "LOG_LEVEL a level" in told
    assert "hello" in told
