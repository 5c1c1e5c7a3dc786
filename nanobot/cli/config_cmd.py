"""`nanobot config`: show, check and describe the configuration, and say where it is."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell_warnings
from nanobot.config.codec import unstructure
from nanobot.config.json_schema import document
from nanobot.config.paths import places
from nanobot.config.tree import dotted
from nanobot.wire import Json

app = App(name="config", help="Show and check the configuration.", version_flags=[])


@app.command(sort_key=1)
def show(
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
    every: Annotated[bool, Parameter(name="--all", negative="", help="Defaults as well.")] = False,
) -> None:
    """Show what is in force; secrets as ***."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    tree = unstructure(instance.config, all_keys=every, masked=True)
    if json:
        say_json(tree)
        return
    for line in _lines(tree) or ["nothing differs from the defaults; see them with --all"]:
        say(line)


def _lines(tree: Json, path: tuple[str | int, ...] = ()) -> list[str]:
    """`agents.defaults.model: gpt-5`, a line for each value."""
    if isinstance(tree, dict) and tree:
        return [line for name, below in tree.items() for line in _lines(below, (*path, name))]
    return [f"{dotted(path)}: {_shown(tree)}"] if path else []


def _shown(value: Json) -> str:
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(map(_shown, value)) or "none"
        case dict():
            return "none" if not value else ", ".join(f"{name}: {_shown(below)}" for name, below in value.items())
        case _:
            return str(value) if value != "" else '""'


@app.command(sort_key=2)
def check(*, config: ConfigOption = None) -> None:
    """List every mistake in the configuration."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    say("ok" if instance.places.written else "ok: there is no file, the defaults are in force")


@app.command(sort_key=3)
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    say_json(document())


@app.command(sort_key=4)
def path(*, config: ConfigOption = None) -> None:
    """Print where the file is, or would be."""
    say(str(places(config).config))
