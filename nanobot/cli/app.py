"""The command line: which commands there are, and what their endings mean.

A command is named here and imported when it is run. `run_cli` is the one place that turns endings into exit codes:

    0    done                                1    failed: one sentence on stderr
    2    a mistake in usage or config        130  interrupted

Texts are plain: no colours, no escape codes, with or without a terminal.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence

import attrs
from cyclopts import App, CycloptsError, UnknownCommandError

from nanobot import __version__
from nanobot.config.redaction import clean, clean_tracebacks
from nanobot.errors import ConfigError, NanobotError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@attrs.frozen
class Command:
    name: str
    target: str
    """`module:attribute`, imported when the command is run."""
    help: str
    alias: str | None = None


COMMANDS = (
    Command("onboard", "nanobot.cli.onboard:onboard", "Set up a configuration and a workspace."),
    Command("chat", "nanobot.cli.chat:chat", "Talk to the assistant in this terminal.", alias="agent"),
    Command("gateway", "nanobot.cli.gateway_cmd:app", "Run the daemon, or speak to the one that runs."),
    Command("web", "nanobot.cli.web:web", "Open the page of the running gateway."),
    Command("status", "nanobot.cli.status:status", "Show where things are and what the gateway does."),
    Command("doctor", "nanobot.cli.doctor:doctor", "Look for what is wrong and say how to put it right."),
    Command("sessions", "nanobot.cli.sessions:app", "List and show conversations."),
    Command("channels", "nanobot.cli.channels_cmd:app", "See and restart the connections to chat networks."),
    Command("mcp", "nanobot.cli.mcp_cmd:app", "See, add and try servers of the Model Context Protocol."),
    Command("outbox", "nanobot.cli.outbox:app", "See what was not delivered, and send it again."),
    Command("cron", "nanobot.cli.cron_cmd:app", "See, make and change scheduled work."),
    Command("memory", "nanobot.cli.memory_cmd:app", "See, search and put right what is remembered."),
    Command("skills", "nanobot.cli.skills:app", "See, check and install what the assistant is taught."),
    Command("usage", "nanobot.cli.usage:usage", "Show what model calls have used up."),
    Command("config", "nanobot.cli.config_cmd:app", "Show and check the configuration."),
    Command("guide", "nanobot.cli.guide:guide", "Read the manual."),
    Command("completion", "nanobot.cli.completion:completion", "Print the completion script for a shell."),
)


def build() -> App:
    """The application, with no command imported."""
    app = App(
        name="nanobot",
        help="A self-hosted personal AI assistant.",
        version=f"nanobot {__version__}",
        version_flags=["--version", "-V"],
        help_format="plaintext",
        help_formatter="plain",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for number, command in enumerate(COMMANDS):
        app.command(command.target, name=command.name, help=command.help, sort_key=number)
        if command.alias is not None:
            app.command(command.target, name=command.alias, help=command.help, show=False)
    return app


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code and raises nothing that a user can cause."""
    clean_tracebacks()
    try:
        code = build()(list(arguments), exit_on_error=False, print_error=False)
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
    except CycloptsError as exc:
        return _ended(USAGE, _usage(exc))
    except ConfigError as exc:
        return _ended(USAGE, str(exc))
    except NanobotError as exc:
        return _ended(FAILED, str(exc))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _close_stdout()
        return FAILED
    except OSError as exc:
        return _ended(FAILED, f"{exc.filename or 'The system'}: {exc.strerror or exc}")
    return code if isinstance(code, int) else DONE


def _ended(code: int, sentence: str) -> int:
    print(clean(sentence), file=sys.stderr)
    return code


def _usage(error: CycloptsError) -> str:
    """What is wrong with the command line, without importing every command to say so."""
    if isinstance(error, UnknownCommandError) and not error.command_chain and error.unused_tokens:
        unknown = error.unused_tokens[0]
        near = difflib.get_close_matches(unknown, [command.name for command in COMMANDS], n=1)
        hint = f"Did you mean {near[0]}?" if near else "See: nanobot --help"
        return f"There is no command {unknown}. {hint}"
    chain = " ".join(["nanobot", *(error.command_chain or ())])
    return f"{str(error).strip()}\nSee: {chain} --help"


def _close_stdout() -> None:
    """Nobody reads any more: what the interpreter still flushes at its end must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
