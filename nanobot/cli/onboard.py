"""`nanobot onboard`: a configuration and a workspace, by a few questions or, with `--yes`, by the defaults.

Nothing is written before the last answer, and what exists is never overwritten: with a configuration in place only missing
files of the workspace are added. A key that is in the environment is referred to, not copied.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from nanobot.cli.options import ConfigOption, WorkspaceOption
from nanobot.cli.terminal import ask, ask_secret, opened, say, tell, tell_warnings
from nanobot.cli.workspace import furnish
from nanobot.config.paths import Places, places
from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, GatewayConfig, ProviderConfig, Secret
from nanobot.config.write import write
from nanobot.errors import NanobotError
from nanobot.providers.registry import BY_NAME, SPECS, Kind, Spec, normal

YesOption = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Ask nothing; take the defaults.")]
_NO_KEY = (Kind.LOCAL, Kind.BUILT_IN)


class CannotWrite(NanobotError):
    """The disk refuses the configuration or the workspace."""


def onboard(*, config: ConfigOption = None, workspace: WorkspaceOption = None, yes: YesOption = False) -> None:
    """Set up a configuration and a workspace."""
    where = places(config)
    try:
        if where.written:
            _existing(config, workspace)
        else:
            _new(where, Config() if yes else _asked(os.environ), workspace)
    except OSError as exc:
        raise CannotWrite(f"{exc.filename}: {exc.strerror}. Nothing that existed was changed") from exc


def _existing(option: Path | None, workspace: Path | None) -> None:
    instance = opened(option)
    tell_warnings(instance.warnings)
    if workspace is not None:
        tell("warning: --workspace is for a new configuration; this one names its own")
    say(f"The configuration {instance.places.config} is there already and stays as it is.")
    _furnish(instance.places.workspace(instance.config))
    _next_steps(instance.places)


def _new(where: Places, answers: Config, workspace: Path | None) -> None:
    config = _placed(answers, where, workspace)
    if where.written:
        raise CannotWrite(f"{where.config} was created in the meantime; it stays as it is. Look at it: nanobot config show")
    write(config, where.config)
    say(f"Wrote {where.config}, readable by you alone.")
    _furnish(where.workspace(config))
    _next_steps(where)


def _placed(config: Config, where: Places, workspace: Path | None) -> Config:
    """With its workspace: as asked for; beside a configuration that has a folder of its own; else the default."""
    defaults = config.agents.defaults
    if workspace is not None:
        defaults = attrs.evolve(defaults, workspace=str(workspace.expanduser().absolute()))
    elif where.workspace(config) != (where.data / "workspace").resolve():
        defaults = attrs.evolve(defaults, workspace=str(where.data / "workspace"))
    return attrs.evolve(config, agents=attrs.evolve(config.agents, defaults=defaults))


def _furnish(workspace: Path) -> None:
    created = furnish(workspace)
    say(f"Workspace {workspace}: " + (f"created {', '.join(created)}." if created else "complete, nothing to add."))


def _next_steps(where: Places) -> None:
    option = f" --config {shlex.quote(str(where.config))}" if where.named else ""
    say("\nNext:")
    say(f"  nanobot chat{option}      talk to it")
    say(f"  nanobot status{option}    see which model answers")
    say(f"  nanobot doctor{option}    if something does not work")


# --- the questions ---


def _asked(environ: Mapping[str, str]) -> Config:
    spec = _ask_provider(environ)
    section = ProviderConfig() if spec is None else _ask_access(spec, environ)
    model = "" if spec is None else ask("Model (empty: the service's default)")
    defaults = AgentDefaults(model=model or None, provider=spec.name if spec and spec.kind in _NO_KEY else "auto")
    owner = _ask_owner()
    return Config(
        agents=AgentsConfig(defaults=defaults),
        providers={} if spec is None or section == ProviderConfig() else {spec.name: section},
        gateway=GatewayConfig(owners=(owner,) if owner else ()),
    )


def _ask_provider(environ: Mapping[str, str]) -> Spec | None:
    tell("Which model service should answer?")
    tell("  " + ", ".join(spec.name for spec in SPECS))
    found = next((spec.name for spec in SPECS if _variable(spec, environ)), "none")
    tell("none: take what a key in the environment or a local server offers, else a demo that needs neither.")
    while True:
        name = normal(ask("Service", found))
        if name == "none":
            return None
        if name in BY_NAME:
            return BY_NAME[name]
        tell(f"No service is called {name}. For one that is not listed take custom and its address.")


def _ask_access(spec: Spec, environ: Mapping[str, str]) -> ProviderConfig:
    base = None if spec.base or spec.kind is Kind.BUILT_IN else _ask_until("Address (https://…/v1)", "an address is needed")
    if spec.kind in _NO_KEY:
        return ProviderConfig(api_base=base)
    if variable := _variable(spec, environ):
        tell(f"{variable} is set: the configuration will refer to it as ${{{variable}}}.")
        return ProviderConfig(api_key=Secret(f"${{{variable}}}"), api_base=base)
    key = ask_secret("Key (not shown; empty: later)")
    if not key:
        tell(f"Later: set {spec.env[0]}, or providers.{spec.name}.apiKey in the configuration." if spec.env else "No key, then.")
    return ProviderConfig(api_key=Secret(key), api_base=base)


def _ask_until(question: str, complaint: str) -> str:
    while not (answer := ask(question)):
        tell(complaint)
    return answer


def _ask_owner() -> str:
    tell("Who owns this assistant in chat apps? In this terminal you are the owner anyway.")
    while True:
        owner = ask("Owner, as channel:user, such as telegram:12345 (empty: later)")
        if not owner or (owner.count(":") in (1, 3) and all(owner.split(":"))):
            return owner
        tell("expected channel:user or channel:account:chat:user")


def _variable(spec: Spec, environ: Mapping[str, str]) -> str | None:
    return next((name for name in spec.env if environ.get(name)), None)
