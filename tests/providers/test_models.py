"""What is asked of a model by its name: temperature, effort, thinking, the limit of tokens."""

from __future__ import annotations

import pytest

from nanobot.providers import models
from nanobot.providers.models import ClaudeThinking
from nanobot.providers.port import ModelParams, ReasoningEffort


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gpt-4o", None, 0.3),
        ("gpt-5", None, None),
        ("gpt-5.4-mini", None, None),
        ("openai/o3-mini", None, None),
        ("gpt-oss-120b", None, 0.3),
        ("llama3", None, 0.3),
        ("llama3", "high", None),
        ("llama3", "none", 0.3),
    ],
)
def test_openai_temperature(model: str, effort: ReasoningEffort | None, expected: float | None) -> None:
    assert models.openai_temperature(model, ModelParams(temperature=0.3, effort=effort)) == expected


@pytest.mark.parametrize(
    ("model", "effort", "tools", "expected"),
    [
        ("gpt-5", "high", True, "high"),
        ("gpt-5", None, True, None),
        ("gpt-5.4", "high", True, "none"),
        ("gpt-5.4", None, True, "none"),
        ("gpt-5.4", "high", False, "high"),
        ("gpt-6.1-sol", None, True, "none"),
        ("o3", "low", True, "low"),
        ("o3", "adaptive", True, None),
    ],
)
def test_openai_effort(model: str, effort: ReasoningEffort | None, tools: bool, expected: str | None) -> None:
    assert models.openai_effort(model, effort, tools=tools) == expected


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-opus-4-7", (4, 7)),
        ("claude-sonnet-5", (5, 0)),
        ("anthropic/claude-sonnet-4.5", (4, 5)),
        ("claude-sonnet-4-5-20250929", (4, 5)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-3-5-haiku-20241022", (3, 5)),
        ("kimi-k2", (0, 0)),
    ],
)
def test_claude_version(model: str, version: tuple[int, int]) -> None:
    assert models.claude_version(model) == version


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("claude-sonnet-4-5", None, 0.3),
        ("claude-sonnet-4-5", "high", None),
        ("claude-opus-4-6", None, 0.3),
        ("claude-opus-4-7", None, None),
        ("claude-sonnet-5", None, None),
        ("claude-fable-5-1", None, None),
    ],
)
def test_claude_temperature(model: str, effort: ReasoningEffort | None, expected: float | None) -> None:
    assert models.claude_temperature(model, ModelParams(temperature=0.3, effort=effort)) == expected


@pytest.mark.parametrize(
    ("model", "effort", "expected", "max_tokens"),
    [
        ("claude-sonnet-4-5", None, ClaudeThinking(), 8192),
        ("claude-sonnet-4-5", "none", ClaudeThinking(), 8192),
        ("claude-sonnet-4-5", "low", ClaudeThinking("enabled", 1024), 8192),
        ("claude-sonnet-4-5", "medium", ClaudeThinking("enabled", 4096), 8192),
        ("claude-sonnet-4-5", "high", ClaudeThinking("enabled", 8192), 12288),
        ("claude-opus-4-6", "xhigh", ClaudeThinking("adaptive", effort="high"), 8192),
        ("claude-opus-4-7", "xhigh", ClaudeThinking("adaptive", effort="xhigh"), 8192),
        ("claude-sonnet-5", "adaptive", ClaudeThinking("adaptive"), 8192),
        ("claude-sonnet-5", "none", ClaudeThinking("disabled"), 8192),
        ("claude-opus-5-5", "none", ClaudeThinking(effort="low"), 8192),
        ("claude-3-5-haiku-20241022", "high", ClaudeThinking(), 8192),
    ],
)
def test_claude_thinking(model: str, effort: ReasoningEffort | None, expected: ClaudeThinking, max_tokens: int) -> None:
    params = ModelParams(effort=effort)
    assert models.claude_thinking(model, params) == expected
    assert models.claude_max_tokens(params, expected) == max_tokens


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("anthropic/claude-opus-5", 1_000_000), ("claude-sonnet-4-5", 200_000), ("gpt-4.1-mini", 1_047_576), ("mystery", None)],
)
def test_window(model: str, tokens: int | None) -> None:
    assert models.window(model) == tokens
