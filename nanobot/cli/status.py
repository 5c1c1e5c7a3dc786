"""`nanobot status`: where things are, which model would answer, and what the gateway does, found out without a network.

Exit codes: 0, or 1 if the gateway runs and does not answer; with `--health` 0 if its tree is up, 1 otherwise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from nanobot.cli import live
from nanobot.cli.health import health as say_health
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import Opened, opened, say, say_json, tell_warnings
from nanobot.cli.texts import when
from nanobot.cli.watching import screen_width, watch
from nanobot.config.paths import places
from nanobot.control.client import NotAnswering, Refused
from nanobot.providers.registry import BY_NAME, Selection, normal, notes, select
from nanobot.wire import JsonObject


@attrs.frozen
class ProviderLine:
    name: str
    key: str
    """`set`, `not set`, or the environment variable it is in."""
    base: str | None


@attrs.frozen
class Gateway:
    """What is known of it; neither: it does not run."""

    running: live.Running | None = None
    problem: str = ""


WatchOption = Annotated[bool, Parameter(name="--watch", negative="", help="Show what the gateway does, until Ctrl-C.")]
HealthOption = Annotated[bool, Parameter(name="--health", negative="", help="One line and an exit code, for container checks.")]


def status(
    *, config: ConfigOption = None, json: JsonOption = False, follow: WatchOption = False, health: HealthOption = False
) -> int:
    """Show where things are, which model would answer and what the gateway does."""
    if health:
        return say_health(places(config).data)
    if follow:
        return watch(places(config).data)
    instance = opened(config)
    tell_warnings(instance.warnings)
    chosen = select(instance.config, os.environ)
    providers = list(_providers(instance, os.environ))
    gateway = _gateway(instance.places.data)
    if json:
        say_json(_as_json(instance, chosen, providers, gateway))
    else:
        for line in (*_lines(instance, chosen, providers, gateway), *_tree(gateway)):
            say(line)
    return int(bool(gateway.problem))


def _gateway(data: Path) -> Gateway:
    try:
        return Gateway(live.look(data))
    except (NotAnswering, Refused) as exc:
        return Gateway(problem=str(exc))


def _providers(instance: Opened, environ: Mapping[str, str]) -> Iterator[ProviderLine]:
    """One for every section of the configuration, and one for every service whose key is in the environment alone."""
    sections = instance.config.providers
    for name, section in sections.items():
        key = "set" if section.api_key else _variable(name, environ) or "not set"
        yield ProviderLine(name, key, section.api_base)
    configured = {normal(name) for name in sections}
    for name in BY_NAME:
        if name not in configured and (variable := _variable(name, environ)):
            yield ProviderLine(name, variable, None)


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    spec = BY_NAME.get(normal(name))
    return next((variable for variable in spec.env if environ.get(variable)), None) if spec else None


def _sessions(journals: Path) -> int:
    return sum(entry.is_dir() for entry in journals.iterdir()) if journals.is_dir() else 0


def _lines(instance: Opened, chosen: Selection, providers: list[ProviderLine], gateway: Gateway) -> Iterator[str]:
    where, workspace = instance.places, instance.places.workspace(instance.config)
    yield f"config     {where.config}{_missing(where.config, 'defaults are in force; create it with: nanobot onboard')}"
    yield f"data       {where.data}"
    yield f"workspace  {workspace}{_missing(workspace, 'create it with: nanobot onboard')}"
    yield f"model      {chosen.model or 'the first that the server lists'}, from {chosen.provider} ({chosen.why})"
    for note in notes(instance.config, chosen):
        yield f"note       {note}"
    yield f"sessions   {_sessions(where.journals)}"
    yield f"gateway    {_said(gateway)}"
    for provider in providers:
        base = f", at {provider.base}" if provider.base else ""
        key = provider.key if provider.key in ("set", "not set") else f"from {provider.key}"
        yield f"provider   {provider.name}: key {key}{base}"


def _said(gateway: Gateway) -> str:
    if gateway.running is None:
        return gateway.problem or "not running; start it with: nanobot gateway"
    now = gateway.running
    return f"process {now.pid}, nanobot {now.version}, {now.tree.state} since {when(now.tree.since)}"


def _tree(gateway: Gateway) -> Iterator[str]:
    if gateway.running is not None:
        yield ""
        yield from live.lines(gateway.running.tree, time.time(), screen_width())


def _missing(path: Path, advice: str) -> str:
    return "" if os.path.exists(path) else f" (missing: {advice})"


def _as_json(instance: Opened, chosen: Selection, providers: list[ProviderLine], gateway: Gateway) -> JsonObject:
    where, workspace = instance.places, instance.places.workspace(instance.config)
    return {
        "config": {"path": str(where.config), "exists": where.written},
        "data": str(where.data),
        "workspace": {"path": str(workspace), "exists": os.path.exists(workspace)},
        "model": {"name": chosen.model, "provider": chosen.provider, "why": chosen.why},
        "providers": [{"name": line.name, "key": line.key, "base": line.base} for line in providers],
        "sessions": _sessions(where.journals),
        "gateway": None if gateway.running is None else gateway.running.said,
        "gatewayProblem": gateway.problem or None,
        "notes": list(notes(instance.config, chosen)),
        "warnings": list(instance.warnings),
    }
