"""The node's own log: one event is one line, whatever somebody called himself."""

from __future__ import annotations

import json
import re
import sys

import pytest
import structlog

from trustnode.app import lines
from trustnode.config import Log

COLOUR = re.compile("\x1b\\[[0-9]{1,2}m")
HOSTILE = ("a\nb", "\x1b[2J", 'x"y', "\r\x00", "\x9b2K", "a\u2028b", "\u202egnp.exe")


@pytest.fixture
def out(capsys):
    before = structlog.get_config()
    yield lambda: capsys.readouterr().err
    structlog.configure(**before)


def fresh_logger(form):
    """A logger of its own: those that were used keep what they wrote to."""
    lines.configure(Log(format=form))
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=sys.stderr), cache_logger_on_first_use=False)
    return structlog.get_logger("test")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_l23_an_id_from_outside_neither_breaks_nor_colours_a_line(out, form, hostile):
    log = fresh_logger(form)
    log.info("request", caller=hostile, ids=(hostile, hostile))
    log.warning(hostile)
    try:
        raise ValueError(hostile)
    except ValueError as problem:
        log.error("internal", exc_info=problem)  # noqa: TRY400 (as the node does)
    written = COLOUR.sub("", out())  # the console's own
    assert len(written.splitlines()) == 3  # splits at every separator that Unicode has
    assert not set(written) & set("\x1b\x00\r\x9b\u202e")
    if form == "json":
        assert [json.loads(line)["level"] for line in written.splitlines()] == ["info", "warning", "error"]


def test_l22_a_traceback_shows_no_values_of_variables(out):
    log = fresh_logger("console")
    token = "token-" + "0123456789abcdef"
    try:
        raise ValueError(len(token))
    except ValueError as problem:
        log.error("internal", exc_info=problem)  # noqa: TRY400 (as the node does)
    written = out()
    assert "ValueError" in written
    assert token not in written
