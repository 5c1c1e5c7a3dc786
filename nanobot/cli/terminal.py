"""What commands say and ask: results go to stdout, everything else (warnings, questions, mistakes) to stderr.

No escape code is ever written here. Texts that others wrote pass through `clean`, so that no key of a service is shown.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path

import attrs

from nanobot.config.load import load
from nanobot.config.paths import Places, places
from nanobot.config.redaction import clean
from nanobot.config.schema import Config
from nanobot.config.secrets import protect
from nanobot.errors import ConfigError, NanobotError
from nanobot.wire import Json


class Cancelled(NanobotError):
    """The input ended before the questions did."""

    def __init__(self) -> None:
        super().__init__("Cancelled: nothing was written. Without questions: nanobot onboard --yes")


def say(text: str = "") -> None:
    """A line of the result."""
    print(clean(text))


def say_json(value: Json) -> None:
    print(json.dumps(_cleaned(value), indent=2, ensure_ascii=False))


def _cleaned(value: Json) -> Json:
    match value:
        case str():
            return clean(value)
        case list():
            return [_cleaned(below) for below in value]
        case dict():
            return {name: _cleaned(below) for name, below in value.items()}
        case _:
            return value


def tell(text: str) -> None:
    """A line for the reader, not for the program behind a pipe."""
    print(clean(text), file=sys.stderr)


def ask(question: str, default: str = "") -> str:
    """The answer, or the default for an empty line. Raises: Cancelled at the end of the input."""
    hint = f" [{default}]" if default else ""
    print(f"{question}{hint}: ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
        raise Cancelled
    return line.strip() or default


def ask_secret(question: str) -> str:
    """The same, not shown while it is typed. Raises: Cancelled at the end of the input."""
    if not sys.stdin.isatty():
        return ask(question)
    try:
        return getpass.getpass(f"{question}: ", sys.stderr).strip()
    except EOFError:
        raise Cancelled from None


@attrs.frozen
class Opened:
    """An instance's configuration as a command uses it."""

    places: Places
    config: Config
    warnings: tuple[str, ...]


def opened(option: Path | None) -> Opened:
    """Find and read the configuration, and keep its secrets out of what is printed from now on.

    Raises: ConfigError; also if the user named a file that is not there.
    """
    where = places(option)
    if where.named and not where.written:
        raise ConfigError([f"there is no such file; create it with: nanobot onboard --config {option}"], file=str(option))
    loaded = load(where.config, os.environ)
    protect(loaded.config, os.environ)
    return Opened(where, loaded.config, loaded.warnings)


def tell_warnings(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        tell(f"warning: {warning}")
