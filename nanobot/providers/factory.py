"""From a selection to a provider: the one place that knows every adapter. Each loads its SDK with its first request."""

from __future__ import annotations

from nanobot.config.schema import Config
from nanobot.providers.anthropic import Anthropic
from nanobot.providers.client import SharedHttp
from nanobot.providers.demo import Demo
from nanobot.providers.openai_chat import OpenAIChat
from nanobot.providers.port import Provider
from nanobot.providers.registry import Selection, Wire


def open_provider(selection: Selection, config: Config, http: SharedHttp) -> Provider:
    """The provider of a selection. It holds nothing open of its own: its connections are `http`'s."""
    connect_s = config.agents.defaults.deadlines.connect
    match selection.spec.wire:
        case Wire.OPENAI:
            return OpenAIChat(selection, http, connect_s)
        case Wire.ANTHROPIC:
            return Anthropic(selection, http, connect_s)
        case Wire.DEMO:
            return Demo()
