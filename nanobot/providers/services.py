"""The table of model services. Pure, and light to import.

Adding a service that speaks one of our wires is adding a row. Rows stand in order of preference; the choice is registry.py's.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from nanobot.config.tree import loose
from nanobot.providers import models


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


class Reasoning(enum.StrEnum):
    """How a service wants to be asked for reasoning; each row takes one form."""

    EFFORT = "reasoning_effort"
    OBJECT = "reasoning.effort"
    HIGH_OR_NONE = "reasoning_effort, high or none"
    TYPE = "thinking.type"
    ENABLE = "enable_thinking"
    SPLIT = "reasoning_split"


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
    """Other names of it, taken off a model as its own is: `zai/glm-5` is `glm-5`."""
    last_segment_only: bool = False
    key_prefix: str = ""
    """A key that begins so belongs here, wherever it was put."""
    completion_tokens: bool = False
    """The limit of tokens is called `max_completion_tokens`."""
    nine_chars: bool = False
    """Call ids must be nine letters and digits."""
    assistant_after_tool: bool = False
    """Refuses a user message right after a tool result."""
    stream_options: bool = True
    """Takes `stream_options`; without it usage comes by itself."""
    reasoning: Reasoning = Reasoning.EFFORT
    reasoning_field: bool = True
    """Takes its own reasoning_content back with the history."""
    cache_key: bool = False
    """Takes `prompt_cache_key`."""
    cache_marks: bool = False
    """Takes Anthropic's cache marks for Claude."""

    def serves(self, model: str) -> bool:
        name = model.lower()
        return any(word in name for word in self.keywords) or models.bare(name).startswith(self.starts or ("\0",))

    def sent(self, model: str) -> str:
        """The model as this service knows it."""
        if self.last_segment_only:
            return model.rpartition("/")[2]
        head, slash, tail = model.partition("/")
        return tail if slash and normal(head) == normal(self.name) else model


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
        reasoning=Reasoning.OBJECT,
        cache_marks=True,
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
    Spec(
        "deepseek",
        "https://api.deepseek.com",
        ("DEEPSEEK_API_KEY",),
        ("deepseek",),
        default_model="deepseek-chat",
        reasoning=Reasoning.TYPE,
    ),
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
        reasoning=Reasoning.ENABLE,
    ),
    Spec(
        "moonshot",
        "https://api.moonshot.ai/v1",
        ("MOONSHOT_API_KEY",),
        ("moonshot", "kimi"),
        default_model="kimi-k2-0905-preview",
        reasoning=Reasoning.TYPE,
    ),
    Spec(
        "minimax",
        "https://api.minimax.io/v1",
        ("MINIMAX_API_KEY",),
        ("minimax",),
        default_model="MiniMax-M2",
        reasoning=Reasoning.SPLIT,
    ),
    Spec(
        "mistral",
        "https://api.mistral.ai/v1",
        ("MISTRAL_API_KEY",),
        ("mistral", "magistral", "ministral", "codestral", "devstral"),
        default_model="mistral-large-latest",
        nine_chars=True,
        reasoning_field=False,
        assistant_after_tool=True,
        stream_options=False,
        reasoning=Reasoning.HIGH_OR_NONE,
    ),
    Spec(
        "siliconflow",
        "https://api.siliconflow.cn/v1",
        ("SILICONFLOW_API_KEY",),
        ("siliconflow",),
        default_model="Qwen/Qwen3-235B-A22B-Instruct-2507",
        kind=Kind.GATEWAY,
        reasoning=Reasoning.ENABLE,
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
_ROWS: Mapping[str, str] = {loose(name): spec.name for spec in SPECS for name in (spec.name, *spec.also)}


def normal(name: str) -> str:
    """One name for all spellings of it (`lmStudio`, `LM-Studio`, `lm_studio`): the row's own where there is a row."""
    plain = loose(name)
    return _ROWS.get(plain, plain)
