"""What is asked of a service about reasoning, over chat completions: pure rules from a row, a model and the configured effort.

Nothing is asked when nothing was configured. What a service cannot be asked for is left out, and `kept` lets others say so.
"""

from __future__ import annotations

from nanobot.providers import models
from nanobot.providers.port import ReasoningEffort
from nanobot.providers.services import Reasoning, Spec
from nanobot.wire import JsonObject

OFF = ("none", "minimal")
"""Efforts that switch thinking off where it can only be on or off."""


def fields(spec: Spec, model: str, effort: ReasoningEffort | None, *, tools: bool) -> JsonObject:
    """What goes into the body."""
    if spec.reasoning is Reasoning.OBJECT:
        return {"reasoning": _object(effort)} if effort is not None else {}
    sent = kept(spec, model, effort, tools=tools)
    told: JsonObject = {} if sent is None else {"reasoning_effort": sent}
    return told if effort is None else _switch(spec.reasoning, model, on=effort not in OFF) | told


def kept(spec: Spec, model: str, effort: ReasoningEffort | None, *, tools: bool) -> str | None:
    """The effort in words that the service is told, None for none."""
    match spec.reasoning:
        case Reasoning.OBJECT:
            return effort
        case Reasoning.HIGH_OR_NONE:
            return models.mistral_effort(model, effort)
        case Reasoning.TYPE | Reasoning.ENABLE | Reasoning.SPLIT if effort in OFF or models.kimi_switches(model):
            return None
        case _:
            return models.openai_effort(model, effort, tools=tools)


def unheard(spec: Spec, model: str, effort: ReasoningEffort) -> bool:
    """The service is told nothing of an effort that was asked for: tools are always offered."""
    if effort in (*OFF, "adaptive") or _switch(spec.reasoning, model, on=True):
        return False
    return kept(spec, model, effort, tools=True) in (None, "none")


def thinks(spec: Spec, model: str, effort: ReasoningEffort | None) -> bool:
    """Thinking is on at a service that then wants `reasoning_content` in every answer of the history."""
    if spec.reasoning not in (Reasoning.TYPE, Reasoning.ENABLE):
        return False
    if effort is None or not _switch(spec.reasoning, model, on=True):
        return models.thinks_by_default(model)
    return effort not in OFF


def _object(effort: ReasoningEffort) -> JsonObject:
    if effort == "adaptive":
        return {"enabled": True}
    return {"effort": "xhigh" if effort == "max" else effort}


def _switch(form: Reasoning, model: str, *, on: bool) -> JsonObject:
    """Thinking on or off, where that is a switch of its own."""
    match form:
        case Reasoning.TYPE if models.kimi(model) == (0, 0) or models.kimi_switches(model):
            return {"thinking": {"type": "enabled" if on else "disabled"}}
        case Reasoning.ENABLE:
            return {"enable_thinking": on}
        case Reasoning.SPLIT:
            return {"reasoning_split": on}
        case _:
            return {}
