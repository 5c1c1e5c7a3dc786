import logging
import warnings
from pathlib import Path

import pytest

from nanobot import log
from nanobot.config.redaction import redact


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def text(folder: Path) -> str:
    return (folder / "nanobot.log").read_text()


def test_lines_have_values_and_context(folder: Path) -> None:
    with log.opened(folder), log.logger.contextualize(session="cli:direct"):
        log.logger.info("opened {} of {}", 1, "{x}")
    (line,) = text(folder).splitlines()
    assert line.endswith("{'session': 'cli:direct'} opened 1 of {x}")


def test_standard_logging_and_warnings_come_in_and_talkative_libraries_do_not(folder: Path) -> None:
    with log.opened(folder), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.getLogger("some.library").warning("said %s", "{this}")
        logging.getLogger("httpx2").info("a line per request")
        warnings.warn("old", stacklevel=1)
    assert "WARNING some.library:" in text(folder)
    assert "said {this}" in text(folder)
    assert "a line per request" not in text(folder)
    assert "UserWarning: old" in text(folder)


def test_no_secret_reaches_a_sink_not_even_in_a_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    redact("hunter22")
    with log.opened(folder, stderr=True):
        value = "hunter22"
        try:
            int(value)
        except ValueError:
            log.logger.exception("failed with {}", value)
    for sink in (text(folder), capsys.readouterr().err):
        assert "ValueError: invalid literal for int() with base 10: '***'" in sink
        assert "hunter22" not in sink


def test_nothing_goes_to_the_terminal_unasked_and_nothing_stays_behind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    with log.opened(folder):
        log.logger.error("to the file")
    log.logger.error("to nobody")
    assert logging.getLogger().handlers == before
    assert "to nobody" not in text(folder)
    assert capsys.readouterr() == ("", "")


def test_the_file_is_private_and_turns_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "ROTATE_AT", 100)
    with log.opened(folder):
        for number in range(20):
            log.logger.info("line {} {}", number, "x" * 100)
    names = {path.name for path in folder.iterdir()}
    assert names == {"nanobot.log.1", "nanobot.log.2", "nanobot.log.3", "nanobot.log.4"}
    assert "line 19" in (folder / "nanobot.log.1").read_text()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_what_the_disk_refused_is_told_later(folder: Path) -> None:
    with log.opened(folder):
        folder.rename(folder.with_name("away"))
        log.logger.info("lost")
        folder.with_name("away").rename(folder)
        log.logger.info("back")
    assert text(folder).startswith("(1 lines could not be written here)\n")
    assert "lost" not in text(folder)
