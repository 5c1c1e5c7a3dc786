"""Which service and model are chosen: a table over configuration and environment."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import attrs
import pytest

from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, ModelSettings, ProviderConfig, Secret
from nanobot.errors import ConfigError
from nanobot.providers.port import ModelParams
from nanobot.providers.registry import BY_NAME, SPECS, Kind, context_window, normal, notes, params, select


def config(model: str | None = None, provider: str = "auto", **sections: str) -> Config:
    """Each section is a key, or an address if it begins with http."""
    made = {
        name: ProviderConfig(api_base=text) if text.startswith("http") else ProviderConfig(api_key=Secret(text))
        for name, text in sections.items()
    }
    return Config(agents=AgentsConfig(AgentDefaults(model=model, provider=provider)), providers=made)


HOME = "http://127.0.0.1:9/v1"
CHOICES: list[tuple[str, Config, dict[str, str], tuple[str, str, str]]] = [
    ("nothing at all", config(), {}, ("demo", "demo", "no key is configured")),
    ("one key", config(anthropic="k"), {}, ("anthropic", "claude-sonnet-5-5", "providers.anthropic is configured")),
    ("table order", config(openai="k", openrouter="k"), {}, ("openrouter", "anthropic/claude-sonnet-4.5", "openrouter")),
    ("environment", config(), {"OPENAI_API_KEY": "k"}, ("openai", "gpt-5.4", "OPENAI_API_KEY is set")),
    ("config before environment", config(openai="k"), {"ANTHROPIC_API_KEY": "k"}, ("openai", "gpt-5.4", "configured")),
    ("blank variable", config(), {"OPENAI_API_KEY": ""}, ("demo", "demo", "no key")),
    ("own local server first", config(openai="k", ollama=HOME), {}, ("ollama", "", "providers.ollama")),
    ("custom endpoint", config(custom=HOME), {}, ("custom", "", "providers.custom")),
    ("endpoint with a name of its own", config(myProxy=HOME), {}, ("myProxy", "", "providers.myProxy")),
    ("vendor by prefix", config("anthropic/claude-opus-5", anthropic="k"), {}, ("anthropic", "claude-opus-5", "served by it")),
    ("vendor by keyword", config("claude-opus-5", anthropic="k", openai="k"), {}, ("anthropic", "claude-opus-5", "served")),
    ("vendor by beginning", config("o3-mini", openai="k"), {}, ("openai", "o3-mini", "served")),
    ("vendor's key in the environment", config("gpt-5", groq="k"), {"OPENAI_API_KEY": "k"}, ("openai", "gpt-5", "served")),
    ("second prefix", config("zai/glm-4.6", zhipu="k"), {}, ("zhipu", "glm-4.6", "served")),
    ("vendor before gateway", config("gpt-5", openrouter="k", openai="k"), {}, ("openai", "gpt-5", "served")),
    ("gateway keeps the vendor", config("anthropic/claude-x", openrouter="k"), {}, ("openrouter", "anthropic/claude-x", "")),
    ("gateway by prefix", config("openrouter/openai/gpt-5", openrouter="k", openai="k"), {}, ("openrouter", "openai/gpt-5", "")),
    ("last segment", config("anthropic/claude-x", aihubmix="k"), {}, ("aihubmix", "claude-x", "")),
    ("groq by prefix", config("groq/openai/gpt-oss-120b", groq="k", openai="k"), {}, ("groq", "openai/gpt-oss-120b", "")),
    ("local by prefix", config("ollama/llama3.2"), {}, ("ollama", "llama3.2", "names it")),
    ("local for anybody's model", config("qwen3:8b", ollama=HOME), {}, ("ollama", "qwen3:8b", "")),
    ("own endpoint for any model", config("claude-x", custom=HOME), {}, ("custom", "claude-x", "")),
    ("forced", config("claude-x", "openai", openai="k", anthropic="k"), {}, ("openai", "claude-x", "agents.defaults.provider")),
    ("forced, other spelling", config(None, "Lm-Studio"), {}, ("lm_studio", "", "agents.defaults.provider")),
    ("forced, own endpoint", config("m", "my-proxy", my_proxy=HOME), {}, ("my_proxy", "m", "agents.defaults.provider")),
    ("forced, own endpoint in camelCase", config("m", "my_proxy", myProxy=HOME), {}, ("myProxy", "m", "agents.defaults")),
    ("section in camelCase", config(None, "lm-studio", lmStudio=HOME), {}, ("lm_studio", "", "agents.defaults.provider")),
    ("section by another name", config("zai/glm-4.6", zai="k"), {}, ("zhipu", "glm-4.6", "served")),
    ("forced demo", config(None, "demo", openai="k"), {}, ("demo", "demo", "agents.defaults.provider")),
    ("demo by name", config("demo", openai="k"), {}, ("demo", "demo", "names it")),
    ("a gateway's key in another place", config("gpt-5", openai="sk-or-v1"), {}, ("openrouter", "gpt-5", "")),
]


@pytest.mark.parametrize(("config", "environ", "expected"), [row[1:] for row in CHOICES], ids=[row[0] for row in CHOICES])
def test_choice(config: Config, environ: dict[str, str], expected: tuple[str, str, str]) -> None:
    selection = select(config, environ)
    provider, model, why = expected
    assert (selection.provider, selection.model) == (provider, model)
    assert why in selection.why


REFUSALS: list[tuple[str, Config, str]] = [
    ("no key for the vendor", config("claude-x", openai="k"), "set providers.anthropic.apiKey or ANTHROPIC_API_KEY"),
    ("another vendor is no gateway", config("openai/gpt-5", anthropic="k"), "set providers.openai.apiKey or OPENAI_API_KEY"),
    ("local is not for vendors' names", config("openai/gpt-5", ollama=HOME), "set providers.openai.apiKey"),
    ("unknown vendor", config("mystery-7b", openai="k"), "no provider is known to serve it"),
    ("forced without a key", config(None, "openai"), "set providers.openai.apiKey or OPENAI_API_KEY"),
    ("forced without an address", config(None, "custom"), "set providers.custom.apiBase"),
    ("forced and unknown", config(None, "opnai", openai="k"), "known are aihubmix, anthropic"),
]


@pytest.mark.parametrize(("config", "says"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_refusal_names_the_way_out(config: Config, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select(config, {})
    assert says in str(caught.value)


def test_address_is_the_sections_or_the_rows() -> None:
    assert select(config(openai="k"), {}).base == BY_NAME["openai"].base
    assert select(config(openai=HOME + "/"), {}).base == HOME


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_rows_are_complete(spec: Any) -> None:
    assert spec.base.startswith(("https://", "http://127.0.0.1:")) or spec.kind in (Kind.CUSTOM, Kind.BUILT_IN)
    assert bool(spec.default_model) == (spec.kind not in (Kind.LOCAL, Kind.CUSTOM))
    assert spec.env or spec.kind in (Kind.LOCAL, Kind.CUSTOM, Kind.BUILT_IN)


def test_no_variable_belongs_to_two_services() -> None:
    variables = [name for spec in SPECS for name in spec.env]
    assert len(set(variables)) == len(variables)


def test_only_an_empty_configuration_may_look_for_local_servers() -> None:
    assert select(config(), {}).may_look_local
    assert not select(config("demo"), {}).may_look_local
    assert not select(config(None, "demo"), {}).may_look_local


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (("openaiCodex", "openai_codex", "openai-codex", "OPENAI-CODEX"), "openaicodex"),
        (("lmStudio", "LM-Studio", "lm_studio"), "lm_studio"),
        (("zhipu", "zai", "ZAI"), "zhipu"),
        (("hostedVllm", "hosted-vllm"), "vllm"),
    ],
)
def test_one_name_for_all_spellings(spellings: tuple[str, ...], name: str) -> None:
    assert {normal(one) for one in spellings} == {name}


@pytest.mark.parametrize(
    ("chosen", "effort", "says"),
    [
        (config("gpt-5.4", openai="k"), "high", ['reasoningEffort is "high", but nothing is asked of gpt-5.4: openai takes no']),
        (config("gpt-5.4", openai="k"), "none", []),
        (config("gpt-5.4", openai="k"), None, []),
        (config("gpt-5", openai="k"), "high", []),
        (config("openai/gpt-5.4", openrouter="k"), "high", []),
        (config("magistral-medium", mistral="k"), "high", ["nothing is asked of magistral-medium: mistral takes no"]),
        (config("deepseek-chat", deepseek="k"), "high", []),
        (config("claude-3-5-haiku-20241022", anthropic="k"), "high", ["the model does not think"]),
        (config("claude-sonnet-5", anthropic="k"), "high", []),
    ],
)
def test_an_effort_that_is_dropped_is_told(chosen: Config, effort: Any, says: list[str]) -> None:
    asked = attrs.evolve(chosen, agents=AgentsConfig(attrs.evolve(chosen.agents.defaults, reasoning_effort=effort)))
    told = [note for note in notes(asked, select(asked, {})) if "Effort" in note]
    assert len(told) == len(says)
    assert all(part in sentence for part, sentence in zip(says, told, strict=True))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [(config("magistral-medium", mistral="k"), True), (config("gpt-4o", openai="k"), False)],
    ids=["unknown", "known"],
)
def test_a_window_that_is_only_assumed_is_told(chosen: Config, said: bool) -> None:
    told = notes(chosen, select(chosen, {}))
    assert any("8192 tokens are assumed" in note for note in told) is said


def test_settings_of_the_model_go_before_the_assistants() -> None:
    chosen = config("openai/gpt-5", openai="k")
    own = ModelSettings(max_tokens=100, extra_body={"a": 1}, context_window=2048)
    provider = ProviderConfig(api_key=Secret("k"), extra_body={"a": 0, "b": 2})
    settled = attrs.evolve(
        chosen, agents=attrs.evolve(chosen.agents, models={"openai/gpt-5": own}), providers={"openai": provider}
    )
    assert params(settled, select(settled, {})) == ModelParams(max_tokens=100, extra_body='{"a": 1, "b": 2}')
    assert context_window(settled, select(settled, {})) == 2048
    assert context_window(chosen, select(chosen, {})) == 400_000
    unknown = config("m", custom=HOME)
    assert context_window(unknown, select(unknown, {})) == 8192


def loaded_by(module: str, watched: tuple[str, ...]) -> list[str]:
    """Which of the watched modules are there after importing one of ours in a fresh process."""
    program = f"import sys, {module}; print(*[name for name in {watched} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_nothing_heavy_is_loaded_before_its_time() -> None:
    assert loaded_by("nanobot.providers.registry", ("trio", "openai", "anthropic", "httpx2", "cattrs")) == []
    assert loaded_by("nanobot.providers.factory", ("openai", "anthropic", "httpx2")) == []


def test_a_section_without_a_key_takes_it_from_its_variable() -> None:
    selection = select(config(openai=HOME), {"OPENAI_API_KEY": "k"})
    assert (selection.base, selection.key.reveal()) == (HOME, "k")
    assert not select(config(custom=HOME), {"OPENAI_API_KEY": "k"}).key
