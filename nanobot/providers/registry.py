"""The table of model services, and the choice of one from configuration and environment. Pure, and light to import.

Adding a service that speaks one of our wires is adding a row. Rows stand in order of preference. The choice:

1. `agents.defaults.provider` names a row, or a section of `providers` with an `apiBase` of its own;
2. an explicit model goes to the row of its vendor (its first segment, else a keyword in its name), else to a gateway, else
   to an endpoint that the user has configured. Never to another vendor: then it is a ConfigError naming the key to set;
3. no model: the first row that is configured, else whose key is in the environment, with its default model;
4. nothing at all: the demo, and the caller may look for a local server first (`local.py`), once the prompt is shown.

A key in the configuration goes before one in the environment.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping

import attrs

from nanobot.config.schema import Config, ModelSettings, ProviderConfig, Secret
from nanobot.errors import ConfigError
from nanobot.providers import models
from nanobot.providers.port import ModelParams


class Kind(enum.StrEnum):
    VENDOR = "vendor"
    """Serves its own models."""
    GATEWAY = "gateway"
    """Serves everybody's models."""
    LOCAL = "local"
    """A server on this machine: needs no key, lists what it has."""
    CUSTOM = "custom"
    """An address that only the user knows: needs `apiBase`."""
    BUILT_IN = "built_in"


class Wire(enum.StrEnum):
    OPENAI = "openai_chat"
    ANTHROPIC = "anthropic"
    DEMO = "demo"


@attrs.frozen
class Spec:
    """One service. All but the name has a default that fits an OpenAI-compatible vendor."""

    name: str
    base: str = ""
    """Its address; empty: it must be configured."""
    env: tuple[str, ...] = ()
    """Environment variables that may hold its key, the first is the one we name to users."""
    keywords: tuple[str, ...] = ()
    """Parts of a model's name that say it is this vendor's."""
    starts: tuple[str, ...] = ()
    """Beginnings of a model's name that say the same."""
    default_model: str = ""
    """Empty: the first that the server lists."""
    kind: Kind = Kind.VENDOR
    wire: Wire = Wire.OPENAI
    also: tuple[str, ...] = ()
    """Vendor segments beside its own name that are taken off a model: `zai/glm-5` is `glm-5`."""
    last_segment_only: bool = False
    key_prefix: str = ""
    """A key that begins so belongs here, wherever it was put."""
    completion_tokens: bool = False
    """The limit of tokens is called `max_completion_tokens`."""
    nine_chars: bool = False
    """Call ids must be nine letters and digits."""
    reasoning_field: bool = True
    """Takes its own reasoning_content back with the history."""
    cache_key: bool = False
    """Takes `prompt_cache_key`."""

    def serves(self, model: str) -> bool:
        name = model.lower()
        return any(word in name for word in self.keywords) or models.bare(name).startswith(self.starts or ("\0",))

    def sent(self, model: str) -> str:
        """The model as this service knows it."""
        if self.last_segment_only:
            return model.rpartition("/")[2]
        head, slash, tail = model.partition("/")
        return tail if slash and normal(head) in (self.name, *self.also) else model


def normal(name: str) -> str:
    """`openAI-Codex` and `openai_codex` are one name."""
    return name.lower().replace("-", "_")


SPECS: tuple[Spec, ...] = (
    Spec("custom", kind=Kind.CUSTOM),
    Spec(
        "openrouter",
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY",),
        ("openrouter",),
        default_model="anthropic/claude-sonnet-4.5",
        kind=Kind.GATEWAY,
        key_prefix="sk-or-",
    ),
    Spec(
        "aihubmix",
        "https://aihubmix.com/v1",
        ("AIHUBMIX_API_KEY",),
        ("aihubmix",),
        default_model="claude-sonnet-4-5",
        kind=Kind.GATEWAY,
        last_segment_only=True,
    ),
    Spec(
        "anthropic",
        "https://api.anthropic.com",
        ("ANTHROPIC_API_KEY",),
        ("anthropic", "claude"),
        default_model="claude-sonnet-5-5",
        wire=Wire.ANTHROPIC,
    ),
    Spec(
        "openai",
        "https://api.openai.com/v1",
        ("OPENAI_API_KEY",),
        ("openai", "gpt"),
        ("o1", "o3", "o4"),
        "gpt-5.4",
        completion_tokens=True,
        cache_key=True,
    ),
    Spec("deepseek", "https://api.deepseek.com", ("DEEPSEEK_API_KEY",), ("deepseek",), default_model="deepseek-chat"),
    Spec(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai/",
        ("GEMINI_API_KEY",),
        ("gemini", "gemma"),
        default_model="gemini-2.5-flash",
    ),
    Spec(
        "zhipu",
        "https://open.bigmodel.cn/api/paas/v4",
        ("ZAI_API_KEY", "ZHIPUAI_API_KEY"),
        ("zhipu", "glm", "zai"),
        default_model="glm-4.6",
        also=("zai",),
    ),
    Spec(
        "dashscope",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        ("DASHSCOPE_API_KEY",),
        ("qwen", "dashscope"),
        default_model="qwen-plus",
    ),
    Spec(
        "moonshot",
        "https://api.moonshot.ai/v1",
        ("MOONSHOT_API_KEY",),
        ("moonshot", "kimi"),
        default_model="kimi-k2-0905-preview",
    ),
    Spec("minimax", "https://api.minimax.io/v1", ("MINIMAX_API_KEY",), ("minimax",), default_model="MiniMax-M2"),
    Spec(
        "mistral",
        "https://api.mistral.ai/v1",
        ("MISTRAL_API_KEY",),
        ("mistral", "magistral", "ministral", "codestral", "devstral"),
        default_model="mistral-large-latest",
        nine_chars=True,
        reasoning_field=False,
    ),
    Spec(
        "siliconflow",
        "https://api.siliconflow.cn/v1",
        ("SILICONFLOW_API_KEY",),
        ("siliconflow",),
        default_model="Qwen/Qwen3-235B-A22B-Instruct-2507",
        kind=Kind.GATEWAY,
    ),
    Spec(
        "groq",
        "https://api.groq.com/openai/v1",
        ("GROQ_API_KEY",),
        ("groq",),
        default_model="openai/gpt-oss-120b",
        reasoning_field=False,
    ),
    Spec("ollama", "http://127.0.0.1:11434/v1", kind=Kind.LOCAL),
    Spec("lm_studio", "http://127.0.0.1:1234/v1", kind=Kind.LOCAL),
    Spec("vllm", "http://127.0.0.1:8000/v1", ("HOSTED_VLLM_API_KEY",), kind=Kind.LOCAL, also=("hosted_vllm",)),
    Spec("demo", default_model="demo", kind=Kind.BUILT_IN, wire=Wire.DEMO),
)
BY_NAME: Mapping[str, Spec] = {spec.name: spec for spec in SPECS}


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
    candidates = [*_configured(config), *_from_environment(config, environ)]
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


def context_window(config: Config, selection: Selection) -> int:
    """Tokens the model can read: as configured, else as known, else 8192."""
    own = _own_settings(config, selection).context_window or config.agents.defaults.context_window
    return own or models.window(selection.model) or 8192


def _own_settings(config: Config, selection: Selection) -> ModelSettings:
    named = (config.agents.models.get(name) for name in (selection.asked, selection.model))
    return next((settings for settings in named if settings is not None), ModelSettings())


# --- who could be used ---


def _configured(config: Config) -> Iterator[_Candidate]:
    """Rows with a section of their own, in the table's order; then the user's own endpoints."""
    sections = {normal(name): settings for name, settings in config.providers.items()}
    for spec in SPECS:
        settings = sections.pop(spec.name, None)
        if settings is not None and (settings.api_base or (settings.api_key and spec.base)):
            yield _candidate(spec, settings, settings.api_key, f"providers.{spec.name} is configured")
    for name, settings in sections.items():
        if settings.api_base:
            spec = Spec(name, kind=Kind.CUSTOM)
            yield _Candidate(spec, settings, settings.api_key, f"providers.{name} is configured")


def _from_environment(config: Config, environ: Mapping[str, str]) -> Iterator[_Candidate]:
    sections = {normal(name): settings for name, settings in config.providers.items()}
    for spec in SPECS:
        for name in spec.env:
            if environ.get(name) and spec.base:
                settings = sections.get(spec.name, ProviderConfig())
                yield _candidate(spec, settings, Secret(environ[name]), f"{name} is set")
                break


def _candidate(spec: Spec, settings: ProviderConfig, key: Secret, why: str) -> _Candidate:
    """A key of a gateway belongs to that gateway, whatever section or variable it was put in."""
    owner = next((row for row in SPECS if row.key_prefix and key.reveal().startswith(row.key_prefix)), spec)
    return _Candidate(spec if settings.api_base else owner, settings, key, why)


# --- the choice ---


def _forced(config: Config, environ: Mapping[str, str], candidates: list[_Candidate]) -> Selection:
    name, model = normal(config.agents.defaults.provider), config.agents.defaults.model
    why = "agents.defaults.provider names it"
    for one in candidates:
        if one.spec.name == name:
            return one.selected(model, why)
    spec = BY_NAME.get(name)
    if spec is None:
        known = ", ".join(sorted({*BY_NAME, *map(normal, config.providers)}))
        raise ConfigError([f"agents.defaults.provider: no provider is called {name!r}; known are {known}"])
    if spec.kind in (Kind.LOCAL, Kind.BUILT_IN):
        return _Candidate(spec, ProviderConfig(), Secret(), why).selected(model or spec.default_model or None)
    raise ConfigError([f"agents.defaults.provider is {name!r}, but {_way_in(spec)}"])


def _for_model(model: str, candidates: list[_Candidate]) -> Selection:
    prefix = normal(model.partition("/")[0]) if "/" in model else ""
    vendor = _vendor(model, prefix)
    for one in candidates:
        if one.spec.name == prefix or (vendor is not None and one.spec is vendor):
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
    named = next((spec for spec in SPECS if prefix and prefix in (spec.name, *spec.also)), None)
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
