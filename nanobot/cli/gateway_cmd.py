"""`nanobot gateway`: the daemon, in the foreground; and what is asked of one that runs.

Exit codes: 0 ended in order, 1 failed, 2 configuration, 3 a channel was parked and `gateway.onParked` is `exit`, 70 stuck.
The daemon logs to its file and to stderr. `restart` and `/restart` replace the program in the same process, so that whoever
watches over it sees nothing but a pause.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from nanobot.cli import logs as log_files
from nanobot.cli.options import ConfigOption
from nanobot.cli.terminal import opened, say, tell, tell_warnings
from nanobot.control.client import Refused, ask
from nanobot.daemon import lock
from nanobot.daemon.service import Service, install, remove
from nanobot.errors import ConfigError, NanobotError
from nanobot.messages import SessionKey
from nanobot.wire import Json

app = App(name="gateway", help="Run the daemon, or speak to the one that runs.", version_flags=[])
ASK_S = 5.0
RELOAD_S = 30.0
STOP_MARGIN_S = 20.0
"""Seconds beyond the drain in which the gateway ends, by itself or by its watchdog."""
LOOK_S = 0.05
USAGE = 2
NameOption = Annotated[str, Parameter(help="The name of the service.")]
DryRunOption = Annotated[bool, Parameter(name="--dry-run", negative="", help="Only print what would be done.")]


class NotStopped(NanobotError):
    """It still runs."""


@app.default
def gateway(
    *,
    config: ConfigOption = None,
    port: Annotated[int | None, Parameter(name=["--port", "-p"], help="Port of the page; wins over gateway.port.")] = None,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="", help="Log more.")] = False,
) -> int:
    """Run the daemon in the foreground, until Ctrl-C or SIGTERM."""
    from nanobot.cli import running  # noqa: PLC0415 -- trio and the house are for the daemon alone
    from nanobot.control.wish import Ending  # noqa: PLC0415

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the daemon hears it, and over `_again`: a new start reads anew
    instance = opened(config)
    tell_warnings(instance.warnings)
    _raise_descriptor_limit()
    ending = running.run(instance, port=port, level="DEBUG" if verbose else "INFO")
    if ending is Ending.RESTART:
        _again()
    return running.FAILED if ending is None else running.CODES[ending]


@app.command(sort_key=1)
def reload(*, config: ConfigOption = None) -> int:
    """Read the configuration again; only what changed starts anew."""
    try:
        said = ask(opened(config).places.data, {"do": "reload"}, RELOAD_S)
    except Refused as refusal:
        if refusal.code != "config":
            raise
        tell(str(refusal))
        return USAGE
    say(str(said))
    return 0


@app.command(sort_key=2)
def stop(*, config: ConfigOption = None) -> None:
    """End the gateway in order, and wait for it."""
    instance = opened(config)
    ask(instance.places.data, {"do": "stop"}, ASK_S)
    _await_end(instance.places.lock, instance.config.gateway.drain_s + STOP_MARGIN_S)
    say("The gateway has ended.")


@app.command(sort_key=3)
def restart(*, config: ConfigOption = None) -> None:
    """End the gateway in order and start it again, in the same process."""
    instance = opened(config)
    before = ask(instance.places.data, {"do": "status"}, ASK_S)
    ask(instance.places.data, {"do": "restart"}, ASK_S)
    until = time.monotonic() + instance.config.gateway.drain_s + STOP_MARGIN_S
    while time.monotonic() < until:
        time.sleep(LOOK_S)
        try:
            now = ask(instance.places.data, {"do": "status"}, ASK_S)
        except NanobotError:
            continue
        if _since(now) != _since(before):
            say("The gateway has started again.")
            return
    raise NotStopped("The gateway has not come back in time. Its log says why: nanobot gateway logs")


@app.command(sort_key=4)
def logs(
    *,
    config: ConfigOption = None,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Go on with what comes.")] = False,
    session: Annotated[str | None, Parameter(help="Only what was logged for this session.")] = None,
    lines: Annotated[int, Parameter(name=["--lines", "-n"], help="How many lines.")] = log_files.SHOWN,
) -> None:
    """Show the log."""
    folder = opened(config).places.logs
    wanted = log_files.of_session(_key(session)) if session else _every
    for line in log_files.last(folder, lines, wanted):
        say(line)
    if follow:
        sys.stdout.flush()
        for line in log_files.follow(folder, wanted):
            say(line)
            sys.stdout.flush()


@app.command(name="install-service", sort_key=5)
def install_service(*, config: ConfigOption = None, name: NameOption = "nanobot", dry_run: DryRunOption = False) -> None:
    """Run the gateway as a service of this user, from now on and at every login."""
    service = _service(config, name)
    if dry_run:
        say(f"# {service.file}\n{service.text}")
        for command in service.starting:
            say("# " + " ".join(command))
        return
    install(service)
    say(f"Installed {service.file} and started it. It says more: nanobot status")
    if not service.macos:
        say("To start it at boot, without a login: loginctl enable-linger")
    say("It does not see your shell's environment; keys that stand there go, as NAME=value, into:")
    say(f"  {service.config.parent / 'env'}")


@app.command(name="uninstall-service", sort_key=6)
def uninstall_service(*, config: ConfigOption = None, name: NameOption = "nanobot", dry_run: DryRunOption = False) -> None:
    """Stop the service and remove it. Configuration and conversations stay."""
    service = _service(config, name)
    if dry_run:
        for command in service.ending:
            say("# " + " ".join(command))
        say(f"# rm {service.file}")
        return
    say(f"Removed {service.file}." if remove(service) else f"There is no service {name}: {service.file} is not there.")


def _service(config: Path | None, name: str) -> Service:
    instance = opened(config)
    return Service(name, instance.places.config, instance.config.gateway.drain_s)


def _key(text: str) -> str:
    try:
        return str(SessionKey.parse(text))
    except ValueError as exc:
        raise ConfigError([str(exc)]) from exc


def _every(_line: str) -> bool:
    return True


def _since(tree: Json) -> object:
    match tree:
        case {"since": since}:
            return since
        case _:
            return None


def _await_end(file: Path, within_s: float) -> None:
    """Until nobody holds the lock. Raises: NotStopped."""
    until = time.monotonic() + within_s
    while lock.is_held(file):
        if time.monotonic() >= until:
            raise NotStopped(f"The gateway has not ended within {within_s:g} s. Its log says why: nanobot gateway logs")
        time.sleep(LOOK_S)


def _raise_descriptor_limit() -> None:
    """Each session and connection needs one, and the usual soft limit is for interactive programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _again() -> NoReturn:
    """The same command in the same process, as it was given: `-m` would let modules of the working folder win."""
    tell("nanobot gateway starts again")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
