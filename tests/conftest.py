"""What holds for every test: no ERROR in the log that the test did not claim, and a last word on what could not be tested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from tests.fakes import peers

if TYPE_CHECKING:
    from loguru import Message


LONGEST = ("session/test_machine_exhaustive", "crash/", "security/", "processes/", "session/")
"""Files with the longest tests, which begin first: several processes end together then."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((rank for rank, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))


@pytest.fixture
def claimed_errors() -> list[str]:
    """The ERROR lines of the log so far. A test that asks for them says that it expects some, and looks at them."""
    return []


@pytest.fixture(autouse=True)
def no_unclaimed_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """ERROR means that somebody should look: here it is the test."""
    claimed = "claimed_errors" in request.fixturenames
    lines: list[str] = request.getfixturevalue("claimed_errors") if claimed else []

    def keep(message: Message) -> None:
        lines.append(message.record["message"])

    sink = logger.add(keep, level="ERROR")
    yield
    try:
        logger.remove(sink)
    except ValueError:  # the test took all sinks away
        pass
    if not claimed:
        assert lines == [], "the log has errors that the test did not claim (fixture claimed_errors)"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes hands over what it did without."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["missed"] = sorted(peers.missed)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Such a process has ended."""
    peers.missed.update(getattr(node, "workeroutput", {}).get("missed", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if line := peers.told():
        terminalreporter.write_line(line)
