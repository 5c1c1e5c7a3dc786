"""What is known of models by their names: the window, and which parameters their services take. Pure tables and rules.

Names are matched on their last segment (`openrouter` says `anthropic/claude-…`, we say `claude-…`), in lower case. What is not
known is left to the service: no window, every parameter as it was asked for.
"""

from __future__ import annotations

import re

import attrs

from nanobot.providers.port import ModelParams, ReasoningEffort

WINDOWS: tuple[tuple[str, int], ...] = (
    ("claude-3", 200_000),
    ("claude-haiku-4", 200_000),
    ("claude-opus-4", 200_000),
    ("claude-sonnet-4", 200_000),
    ("claude-", 1_000_000),
    ("gpt-4.1", 1_047_576),
    ("gpt-4o", 128_000),
    ("gpt-4-turbo", 128_000),
    ("gpt-4", 8_192),
    ("gpt-3.5", 16_385),
    ("gpt-oss", 131_072),
    ("gpt-", 400_000),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4", 200_000),
    ("gemini-", 1_048_576),
    ("deepseek-", 128_000),
    ("glm-", 128_000),
    ("kimi-k2", 256_000),
    ("mistral-large", 128_000),
    ("demo", 8_192),
)
"""Tokens that a model can read, by the beginning of its name; the first match counts, so the special stand before the
general. Where a family differs the smallest stands here: a window too small costs history, one too large costs the turn."""

MIN_BUDGET = {"minimal": 1024, "low": 1024, "medium": 4096}
"""Tokens of thinking for models that take a budget. The service refuses less than 1024."""
HIGH_BUDGET = 8192  # tokens; or max_tokens, if that is more
ANSWER_ROOM = 4096  # tokens that max_tokens must leave above the budget, or the answer is cut


@attrs.frozen
class ClaudeThinking:
    """How thinking is asked of a Claude model. `budget` in tokens for `enabled`; empty `kind`: do not mention it."""

    kind: str = ""
    budget: int = 0
    effort: str = ""


def bare(model: str) -> str:
    """The name without vendor segments, in lower case."""
    return model.rpartition("/")[2].lower()


def window(model: str) -> int | None:
    """Tokens the model can read, None if not known."""
    name = bare(model)
    return next((size for prefix, size in WINDOWS if name.startswith(prefix)), None)


# --- OpenAI ---


def gpt_version(model: str) -> tuple[int, int]:
    """(5, 4) of `gpt-5.4-mini`; (0, 0) of anything else."""
    found = re.match(r"gpt-(\d+)(?:\.(\d+))?(?=-|$)", bare(model))
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def openai_reasons(model: str) -> bool:
    """True for the models of OpenAI that reason: no temperature, `max_completion_tokens`."""
    return gpt_version(model) >= (5, 0) or re.match(r"o[134](-|$)", bare(model)) is not None


def openai_temperature(model: str, params: ModelParams) -> float | None:
    """The temperature to send, None for none."""
    if kimi(model) >= (2, 5):
        return 1.0 if kimi(model) == (2, 7) else None  # fixed there: 2.7 wants to be told so, the others refuse any
    if openai_reasons(model) or params.effort not in (None, "none"):
        return None
    return params.temperature


def openai_effort(model: str, effort: ReasoningEffort | None, *, tools: bool) -> str | None:
    """The effort to send over chat completions, None for none.

    From gpt-5.2 on this wire refuses tools beside reasoning, and reasoning is on by default from 5.6 on: with tools it must be
    switched off in so many words. `adaptive` is the service's own choice. Kimi knows `max` alone, from version 3 on.
    """
    if kimi(model) >= (3, 0):
        return None if effort in (None, "none", "minimal", "adaptive") else "max"
    if tools and gpt_version(model) >= (5, 2):
        return "none"
    return None if effort == "adaptive" else effort


# --- others on the same wire ---


def kimi(model: str) -> tuple[int, int]:
    """(2, 5) of `kimi-k2.5`; (0, 0) of anything else."""
    found = re.match(r"kimi-k(\d)(?:\.(\d))?(?=-|:|$)", bare(model))
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def kimi_switches(model: str) -> bool:
    """Thinks unless told otherwise, and knows no effort."""
    return kimi(model) in ((2, 5), (2, 6))


def mistral_effort(model: str, effort: ReasoningEffort | None) -> str | None:
    """`high` or `none` is all that Mistral knows, and its reasoning models take neither."""
    if effort in (None, "adaptive") or bare(model).startswith("magistral"):
        return None
    return "none" if effort in ("none", "minimal", "low") else "high"


def thinks_by_default(model: str) -> bool:
    """Models of DeepSeek and Moonshot that think unless told otherwise."""
    name = bare(model)
    return "thinking" in name or kimi(model) >= (2, 5) or re.match(r"deepseek-(reasoner|flash|pro|r\d|v[4-9])", name) is not None


# --- Claude ---


def claude_version(model: str) -> tuple[int, int]:
    """(4, 7) of `claude-opus-4-7`, (3, 5) of `claude-3-5-haiku-20241022`; (0, 0) of anything else."""
    found = re.search(r"claude-(?:[a-z]+-)?(\d)(?:[-.](\d))?(?=-|@|:|$)", bare(model))
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def claude_temperature(model: str, params: ModelParams) -> float | None:
    """The temperature to send: none to models that refuse it; with a budget of thinking it must be the default, so none too."""
    removed = (4, 7) if "opus" in bare(model) else (5, 0)
    if claude_version(model) >= removed or params.effort not in (None, "none"):
        return None
    return params.temperature


def claude_thinking(model: str, params: ModelParams) -> ClaudeThinking:
    """Adaptive with an effort from 4.6 on, a budget before; nothing when nothing was asked for."""
    effort = params.effort
    version = claude_version(model)
    if effort is None or (0, 0) < version < (3, 7):
        return ClaudeThinking()
    if effort == "none":
        return _without_thinking(model, version)
    if version >= (4, 6):
        return ClaudeThinking("adaptive", effort=_claude_effort(effort, version))
    budget = MIN_BUDGET.get(effort, max(HIGH_BUDGET, params.max_tokens))
    return ClaudeThinking("enabled", budget)


def claude_max_tokens(params: ModelParams, thinking: ClaudeThinking) -> int:
    """`max_tokens` counts thinking too, so it must exceed the budget."""
    return max(params.max_tokens, thinking.budget + ANSWER_ROOM) if thinking.budget else params.max_tokens


def _without_thinking(model: str, version: tuple[int, int]) -> ClaudeThinking:
    """Models before 5.0 think only when asked; some later ones cannot stop, and are asked to be short."""
    always = any(family in bare(model) for family in ("fable", "mythos")) or ("opus" in bare(model) and version >= (5, 5))
    if version < (5, 0):
        return ClaudeThinking()
    return ClaudeThinking(effort="low") if always else ClaudeThinking("disabled")


def _claude_effort(effort: ReasoningEffort, version: tuple[int, int]) -> str:
    if effort == "adaptive":
        return ""
    if effort == "xhigh" and version < (4, 7):
        return "high"
    return "low" if effort == "minimal" else effort
