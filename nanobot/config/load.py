"""Reading the configuration: file, `${VAR}`, environment, types and ranges, in this order; all mistakes at once.

1. The file is parsed; its keys are brought to camelCase where they are ours, and the keys of HKUDS/nanobot that we do not
   have are set aside for one warning. A file without `configVersion` is read as one of HKUDS/nanobot.
2. `${VAR}` in any text of the file becomes the variable's value, in memory only.
3. `NANOBOT_…` variables win over the file.
4. The result becomes the frozen tree, or a list of mistakes, each with its path, what was expected and the nearest known
   key. No mistake or warning quotes a text of the file.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

import attrs

from nanobot.config import addresses, foreign, limits
from nanobot.config.codec import Mistake, structure
from nanobot.config.environ import Override, overrides
from nanobot.config.schema import CONFIG_VERSION, Config
from nanobot.config.text import read
from nanobot.config.tree import Path, Section, Series, Shape, Table, camel, dotted, keys_of, nearest
from nanobot.errors import ConfigError
from nanobot.wire import Json, JsonObject

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SCHEMA_KEY = "$schema"
"""Allowed at the root for editors, and not ours."""


@attrs.frozen
class Loaded:
    """A configuration that can be used, and what its reader should know: one line each."""

    config: Config
    warnings: tuple[str, ...] = ()


def load(path: pathlib.Path, environ: Mapping[str, str]) -> Loaded:
    """The configuration in `path`, or the defaults if there is no such file, with the environment's settings.

    Raises: ConfigError with every mistake found.
    """
    mistakes: list[Mistake] = []
    theirs: list[Path] = []
    data = _object(_renamed(read(path), Section(Config), (), mistakes), path)
    warnings = _versioned(data, path) if data else []
    data = _ours(data, Config, (), theirs)
    data = {name: _expanded(value, (name,), environ, mistakes) for name, value in data.items()}
    settings, unusable = overrides(environ, data)
    for setting in settings:
        _put(data, setting)
    made = structure(data)
    late = [*_strangers(data), *(_senseless(made) if isinstance(made, Config) else made)]
    if mistakes or late or unusable or not isinstance(made, Config):
        raise ConfigError([*_worded(mistakes, []), *_worded(late, settings), *unusable], file=str(path))
    return Loaded(made, (*warnings, *_not_used(theirs + _not_served(data), environ)))


def _object(data: Json, path: pathlib.Path) -> JsonObject:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(["expected an object with keys such as agents and providers"], file=str(path))
    return data


def _renamed(value: Json, shape: Shape, path: Path, mistakes: list[Mistake]) -> Json:
    """The same with known keys, ours and theirs, in camelCase. Names that the user chose stay as they are."""
    match shape, value:
        case Section(cls), dict():
            return _renamed_section(value, cls, path, mistakes)
        case Table(item), dict():
            return {name: _renamed(below, item, (*path, name), mistakes) for name, below in value.items()}
        case Series(item), list():
            return [_renamed(below, item, (*path, place), mistakes) for place, below in enumerate(value)]
        case _:
            return value


def _renamed_section(value: JsonObject, cls: type, path: Path, mistakes: list[Mistake]) -> JsonObject:
    shapes: dict[str, Shape] = {key.name: key.shape for key in keys_of(cls)}
    result: JsonObject = {}
    for spelling, below in value.items():
        name = camel(spelling)
        here = (*path, name)
        if name not in shapes and not foreign.is_theirs(here):
            name = spelling
        if name in result:
            mistakes.append(Mistake(here, "is there twice, as camelCase and as snake_case"))
        result[name] = _renamed(below, shapes[name], here, mistakes) if name in shapes else below
    return result


def _versioned(data: JsonObject, path: pathlib.Path) -> list[str]:
    version = data.get("configVersion")
    if isinstance(version, int) and version > CONFIG_VERSION:
        raise ConfigError(
            [f"configVersion: this nanobot reads version {CONFIG_VERSION}; a newer one wrote this file: update nanobot"],
            file=str(path),
        )
    return foreign.modernised(data) if version is None else []


def _ours(data: JsonObject, cls: type, path: Path, theirs: list[Path]) -> JsonObject:
    """What is left without the keys of HKUDS/nanobot, which go to `theirs`, and the nulls that mean "not set"."""
    keys = {key.name: key for key in keys_of(cls)}
    result: JsonObject = {}
    for name, value in data.items():
        here = (*path, name)
        key = keys.get(name)
        if key is None and foreign.is_theirs(here):
            theirs.append(here)
        elif not (here == (SCHEMA_KEY,) or (value is None and key is not None and not key.optional)):
            result[name] = _ours_below(value, key.shape, here, theirs) if key is not None else value
    return result


def _ours_below(value: Json, shape: Shape, path: Path, theirs: list[Path]) -> Json:
    match shape, value:
        case Section(cls), dict():
            return _ours(value, cls, path, theirs)
        case Table(item), dict():
            return {name: _ours_below(below, item, (*path, name), theirs) for name, below in value.items()}
        case Series(item), list():
            return [_ours_below(below, item, (*path, place), theirs) for place, below in enumerate(value)]
        case _:
            return value


def _expanded(value: Json, path: Path, environ: Mapping[str, str], mistakes: list[Mistake]) -> Json:
    """The same with every `${VAR}` replaced; one that is not set is a mistake."""
    match value:
        case str():
            for variable in _VARIABLE.findall(value):
                if variable not in environ:
                    mistakes.append(Mistake(path, f"the environment variable {variable} is not set"))
            return _VARIABLE.sub(lambda found: environ.get(found[1], found[0]), value)
        case list():
            return [_expanded(below, (*path, place), environ, mistakes) for place, below in enumerate(value)]
        case dict():
            return {name: _expanded(below, (*path, name), environ, mistakes) for name, below in value.items()}
        case _:
            return value


def _put(data: JsonObject, setting: Override) -> None:
    """Lay one setting over the file. Where the file has no object on the way, its own mistake is what counts."""
    here: Json = data
    for step in setting.path[:-1]:
        if not isinstance(here, dict):
            return
        here = here.setdefault(str(step), {})
    if isinstance(here, dict):
        name = str(setting.path[-1])
        here[name] = _merged(here.get(name), setting.value)


def _merged(below: Json, above: Json) -> Json:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{name: _merged(below.get(name), value) for name, value in above.items()}}
    return above


def _without_address(data: JsonObject) -> dict[str, JsonObject]:
    providers = data.get("providers")
    sections = providers.items() if isinstance(providers, dict) else ()
    return {name: section for name, section in sections if isinstance(section, dict) and not section.get("apiBase")}


def _senseless(config: Config) -> list[Mistake]:
    """Values of the right kind that mean nothing."""
    return [*addresses.mistakes(config.tools), *limits.mistakes(config)]


def _strangers(data: JsonObject) -> list[Mistake]:
    """A provider of a name that nobody knows is one of the user's own, or a typing mistake: its address tells."""
    names = [name for name in _without_address(data) if not foreign.is_known_provider(name)]
    return [Mistake(("providers", name, "apiBase"), _no_address(name)) for name in names]


def _not_served(data: JsonObject) -> list[Path]:
    sections = _without_address(data).items()
    return [("providers", name) for name, section in sections if section.get("apiKey") and foreign.is_their_provider(name)]


def _no_address(name: str) -> str:
    near = nearest(name, foreign.PROVIDERS)
    return f"{name} is no known provider; a provider of your own needs its address" + (f"; did you mean {near}?" if near else "")


def _worded(mistakes: list[Mistake], settings: list[Override]) -> list[str]:
    """One line each; what came from the environment names its variable."""
    variables = {setting.path: setting.variable for setting in settings}
    return [f"{_where(mistake.path, variables)}: {mistake.text}" for mistake in mistakes]


def _where(path: Path, variables: Mapping[Path, str]) -> str:
    source = next((variables[path[:n]] for n in range(len(path), 0, -1) if path[:n] in variables), None)
    return dotted(path) + (f" (from {source})" if source else "")


def _not_used(theirs: list[Path], environ: Mapping[str, str]) -> list[str]:
    names = [*map(dotted, theirs), *sorted(foreign.PROCESS_VARIABLES & environ.keys())]
    return [f"not used here, known from HKUDS/nanobot: {', '.join(names)}"] if names else []
