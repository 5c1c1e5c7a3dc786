"""`nanobot status`: where things are and which model would answer, found out without a network and without a gateway."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import Opened, opened, say, say_json, tell_warnings
from nanobot.providers.registry import BY_NAME, Selection, normal, notes, select
from nanobot.wire import JsonObject


@attrs.frozen
class ProviderLine:
    name: str
    key: str
    """`set`, `not set`, or the environment variable it is in."""
    base: str | None


def status(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show where things are and which model would answer."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    chosen = select(instance.config, os.environ)
    providers = list(_providers(instance, os.environ))
    if json:
        say_json(_as_json(instance, chosen, providers))
        return
    for line in _lines(instance, chosen, providers):
        say(line)


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


def _lines(instance: Opened, chosen: Selection, providers: list[ProviderLine]) -> Iterator[str]:
    where, workspace = instance.places, instance.places.workspace(instance.config)
    yield f"config     {where.config}{_missing(where.config, 'defaults are in force; create it with: nanobot onboard')}"
    yield f"data       {where.data}"
    yield f"workspace  {workspace}{_missing(workspace, 'create it with: nanobot onboard')}"
    yield f"model      {chosen.model or 'the first that the server lists'}, from {chosen.provider} ({chosen.why})"
    for note in notes(instance.config, chosen):
        yield f"note       {note}"
    yield f"sessions   {_sessions(where.journals)}"
    for provider in providers:
        base = f", at {provider.base}" if provider.base else ""
        key = provider.key if provider.key in ("set", "not set") else f"from {provider.key}"
        yield f"provider   {provider.name}: key {key}{base}"


def _missing(path: Path, advice: str) -> str:
    return "" if os.path.exists(path) else f" (missing: {advice})"


def _as_json(instance: Opened, chosen: Selection, providers: list[ProviderLine]) -> JsonObject:
    where, workspace = instance.places, instance.places.workspace(instance.config)
    return {
        "config": {"path": str(where.config), "exists": where.written},
        "data": str(where.data),
        "workspace": {"path": str(workspace), "exists": os.path.exists(workspace)},
        "model": {"name": chosen.model, "provider": chosen.provider, "why": chosen.why},
        "providers": [{"name": line.name, "key": line.key, "base": line.base} for line in providers],
        "sessions": _sessions(where.journals),
        "notes": list(notes(instance.config, chosen)),
        "warnings": list(instance.warnings),
    }
