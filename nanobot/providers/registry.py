"""The choice of a model service from configuration and environment, over the table in services.py. Pure, and light to import.

The choice:

1. `agents.defaults.provider` names a row, or a section of `providers` with an `apiBase` of its own;
2. an explicit model goes to the row of its vendor (its first segment, else a keyword in its name), else to a gateway, else
   to an endpoint that the user has configured. Never to another vendor: then it is a ConfigError naming the key to set;
3. no model: the first row that is configured, else whose key is in the environment, with its default model;
4. nothing at all: the demo, and the caller may look for a local server first (`local.py`), once the prompt is shown.

A key in the configuration goes before one in the environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import attrs

from nanobot.config.schema import Config, ModelSettings, ProviderConfig, Secret
from nanobot.errors import ConfigError
from nanobot.providers import models, reasoning, vision_models
from nanobot.providers.port import ModelParams
from nanobot.providers.services import BY_NAME, SPECS, Kind, Spec, Wire, normal
from nanobot.providers.vision_models import Sight

__all__ = [
    "BY_NAME",
    "SPECS",
    "UNKNOWN_WINDOW",
    "Kind",
    "Selection",
    "Spec",
    "Wire",
    "context_window",
    "known_window",
    "normal",
    "notes",
    "params",
    "select",
    "sight",
]

UNKNOWN_WINDOW = 8192
"""Tokens that a model is taken to read where neither the configuration nor a row says: small servers read that much."""


@attrs.frozen
class Selection:
    """What was chosen, and why: `why` is half a sentence for `nanobot status`."""

    spec: Spec
    model: str
    """As the service knows it; empty: the first model that the server lists."""
    why: str
    key: Secret = Secret()
    base: str = ""
    settings: ProviderConfig = ProviderConfig()
    asked: str = ""
    """The model as the user wrote it: the name under which `agents.models` is searched first."""

    @property
    def provider(self) -> str:
        return self.spec.name

    @property
    def key_hint(self) -> str:
        """Where its key may stand."""
        variable = f" or {self.spec.env[0]}" if self.spec.env else ""
        return f"providers.{self.provider}.apiKey{variable}"

    @property
    def own_address(self) -> bool:
        """It is the vendor's own, not a stranger's that speaks the same wire."""
        return self.base == self.spec.base.rstrip("/")

    @property
    def may_look_local(self) -> bool:
        """Nothing is configured: a server on this machine would be better than the demo."""
        return self.spec.wire is Wire.DEMO and not self.asked


@attrs.frozen
class _Candidate:
    """A row that could be used as things are: it has a key, needs none, or has an address of the user's own."""

    spec: Spec
    settings: ProviderConfig
    key: Secret
    why: str

    def selected(self, model: str | None, why: str = "") -> Selection:
        sent = self.spec.default_model if model is None else self.spec.sent(model)
        base = (self.settings.api_base or self.spec.base).rstrip("/")
        return Selection(self.spec, sent, why or self.why, self.key, base, self.settings, model or "")


def select(config: Config, environ: Mapping[str, str]) -> Selection:
    """Choose a service and a model. Raises: ConfigError, with the key to set."""
    defaults = config.agents.defaults
    candidates = [*_configured(config, environ), *_from_environment(config, environ)]
    if normal(defaults.provider) != "auto":
        return _forced(config, environ, candidates)
    if defaults.model is not None:
        return _for_model(defaults.model, candidates)
    for one in sorted(candidates, key=lambda one: one.spec.kind is not Kind.LOCAL):
        return one.selected(None)
    return _Candidate(BY_NAME["demo"], ProviderConfig(), Secret(), "no key is configured").selected(None)


def params(config: Config, selection: Selection) -> ModelParams:
    """What the model is asked to keep to: the model's own settings, else the assistant's."""
    defaults, own = config.agents.defaults, _own_settings(config, selection)
    body = {**selection.settings.extra_body, **own.extra_body}
    return ModelParams(
        max_tokens=own.max_tokens or defaults.max_tokens,
        temperature=defaults.temperature if own.temperature is None else own.temperature,
        effort=own.reasoning_effort or defaults.reasoning_effort,
        extra_body=json.dumps(body, sort_keys=True) if body else "",
    )


def known_window(config: Config, selection: Selection) -> int | None:
    """Tokens the model can read: as configured, else as known, else None."""
    own = _own_settings(config, selection).context_window or config.agents.defaults.context_window
    return own or models.window(selection.model)


def context_window(config: Config, selection: Selection) -> int:
    """Tokens the model can read, `UNKNOWN_WINDOW` where nobody knows."""
    return known_window(config, selection) or UNKNOWN_WINDOW


def sight(config: Config, selection: Selection) -> Sight:
    """What the model can be shown: as configured, else as known."""
    return vision_models.sight_of(selection.provider, selection.model, _own_settings(config, selection).vision)


def notes(config: Config, selection: Selection) -> tuple[str, ...]:
    """What is configured but will not be done, and what is only assumed, one sentence each, for `status` and `doctor`."""
    return (*_effort_notes(config, selection), *_window_notes(config, selection))


def _effort_notes(config: Config, selection: Selection) -> Iterator[str]:
    spec, model, effort = selection.spec, selection.model, params(config, selection).effort
    if effort is None or effort == "none":
        return
    if spec.wire is Wire.ANTHROPIC and models.claude_thinking(model, ModelParams(effort=effort)) == models.ClaudeThinking():
        why = "the model does not think"
    elif spec.wire is Wire.OPENAI and reasoning.unheard(spec, model, effort):
        why = f"{spec.name} takes no effort beside tools for this model"
    else:
        return
    yield f'reasoningEffort is "{effort}", but nothing is asked of {model}: {why}. Leave it out, or choose another model'


def _window_notes(config: Config, selection: Selection) -> Iterator[str]:
    if known_window(config, selection) is None:
        model = selection.model or "the first model that the server lists"
        yield (
            f"it is not known how much {model} can read, so {UNKNOWN_WINDOW} tokens are assumed, and more once it has read more: "
            "set agents.defaults.contextWindow"
        )


def _own_settings(config: Config, selection: Selection) -> ModelSettings:
    named = (config.agents.models.get(name) for name in (selection.asked, selection.model))
    return next((settings for settings in named if settings is not None), ModelSettings())


# --- who could be used ---


def _configured(config: Config, environ: Mapping[str, str]) -> Iterator[_Candidate]:
    """Rows with a section of their own, in the table's order; then the user's own endpoints."""
    sections = {normal(name): settings for name, settings in config.providers.items()}
    for spec in SPECS:
        settings = sections.pop(spec.name, None)
        if settings is not None and (settings.api_base or (settings.api_key and spec.base)):
            key = settings.api_key or _key_in(environ, spec)
            yield _candidate(spec, settings, key, f"providers.{spec.name} is configured")
    for name, settings in config.providers.items():
        if settings.api_base and normal(name) in sections:
            yield _Candidate(Spec(name, kind=Kind.CUSTOM), settings, settings.api_key, f"providers.{name} is configured")


def _from_environment(config: Config, environ: Mapping[str, str]) -> Iterator[_Candidate]:
    sections = {normal(name): settings for name, settings in config.providers.items()}
    for spec in SPECS:
        for name in spec.env:
            if environ.get(name) and spec.base:
                settings = sections.get(spec.name, ProviderConfig())
                yield _candidate(spec, settings, Secret(environ[name]), f"{name} is set")
                break


def _key_in(environ: Mapping[str, str], spec: Spec) -> Secret:
    return Secret(next((environ[name] for name in spec.env if environ.get(name)), ""))


def _candidate(spec: Spec, settings: ProviderConfig, key: Secret, why: str) -> _Candidate:
    """A key of a gateway belongs to that gateway, whatever section or variable it was put in."""
    owner = next((row for row in SPECS if row.key_prefix and key.reveal().startswith(row.key_prefix)), spec)
    return _Candidate(spec if settings.api_base else owner, settings, key, why)


# --- the choice ---


def _forced(config: Config, environ: Mapping[str, str], candidates: list[_Candidate]) -> Selection:
    name, model = normal(config.agents.defaults.provider), config.agents.defaults.model
    why = "agents.defaults.provider names it"
    for one in candidates:
        if normal(one.spec.name) == name:
            return one.selected(model, why)
    spec = BY_NAME.get(name)
    if spec is None:
        known = ", ".join(sorted({*BY_NAME, *(written for written in config.providers if normal(written) not in BY_NAME)}))
        called = config.agents.defaults.provider
        raise ConfigError([f"agents.defaults.provider: no provider is called {called!r}; known are {known}"])
    if spec.kind in (Kind.LOCAL, Kind.BUILT_IN):
        return _Candidate(spec, ProviderConfig(), Secret(), why).selected(model or spec.default_model or None)
    raise ConfigError([f"agents.defaults.provider is {name!r}, but {_way_in(spec)}"])


def _for_model(model: str, candidates: list[_Candidate]) -> Selection:
    prefix = normal(model.partition("/")[0]) if "/" in model else ""
    vendor = _vendor(model, prefix)
    for one in candidates:
        if normal(one.spec.name) == prefix or (vendor is not None and one.spec is vendor):
            return one.selected(model, f"the model {model} is served by it")
    if vendor is not None and vendor.kind in (Kind.LOCAL, Kind.BUILT_IN):
        return _Candidate(vendor, ProviderConfig(), Secret(), f"the model {model} names it").selected(model)
    foreign = prefix in BY_NAME
    for kinds in ((Kind.GATEWAY,), (Kind.CUSTOM,), () if foreign else (Kind.LOCAL,)):
        for one in candidates:
            if one.spec.kind in kinds:
                return one.selected(model)
    raise ConfigError([f"agents.defaults.model is {model!r}, but {_missing(vendor)}"])


def _vendor(model: str, prefix: str) -> Spec | None:
    """The row that the model's first segment names, else the first whose keyword stands in its name."""
    named = next((spec for spec in SPECS if spec.name == prefix), None)
    own = (spec for spec in SPECS if spec.kind is not Kind.GATEWAY or spec.name in model.lower())
    by_word = next((spec for spec in own if spec.serves(model)), None)
    return named or by_word or (BY_NAME["demo"] if model == "demo" else None)


def _missing(vendor: Spec | None) -> str:
    if vendor is None:
        return (
            "no provider is known to serve it: set agents.defaults.provider, or the key of a gateway "
            "(providers.openrouter.apiKey or OPENROUTER_API_KEY)"
        )
    return f"{_way_in(vendor)}, or a gateway's key (providers.openrouter.apiKey or OPENROUTER_API_KEY)"


def _way_in(spec: Spec) -> str:
    if spec.kind is Kind.CUSTOM:
        return f"it has no address: set providers.{spec.name}.apiBase"
    variable = f" or {spec.env[0]}" if spec.env else ""
    return f"there is no key for {spec.name}: set providers.{spec.name}.apiKey{variable}"
