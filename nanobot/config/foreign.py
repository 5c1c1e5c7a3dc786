"""What is in the files of HKUDS/nanobot and not in ours: its other keys, its providers, and its old habits.

Its keys load and are named in one warning, because they are no mistake of the user's; its written-out defaults that would
open the machine count as not written. A key that becomes ours is taken out of the table here.
"""

from __future__ import annotations

import attrs

from nanobot.config.tree import Path, dotted, loose
from nanobot.wire import Json

_PATTERNS = """
api modelPresets
gateway.heartbeat.keepRecentMessages gateway.restartMode
channels.telegram.mode channels.telegram.webhookUrl channels.telegram.webhookListenHost channels.telegram.webhookListenPort
channels.telegram.webhookPath channels.telegram.webhookSecretToken channels.telegram.streamEditInterval
channels.telegram.inlineKeyboards channels.telegram.richMessages channels.telegram.connectionPoolSize
channels.telegram.poolTimeout
channels.discord channels.feishu channels.dingtalk channels.slack
channels.email.verifySpf channels.email.verifyDkim
channels.mochat channels.qq channels.matrix channels.weixin channels.wecom channels.mattermost channels.msteams
channels.signal channels.napcat channels.websocket channels.showReasoning channels.sendMaxRetries channels.streaming
agents.defaults.botIcon agents.defaults.botName agents.defaults.consolidationRatio agents.defaults.contextBlockLimit
agents.defaults.contextWindowTokens agents.defaults.dream agents.defaults.failOnToolError
agents.defaults.fallbackModels agents.defaults.idleCompactAfterMinutes agents.defaults.idleCompactCheckIntervalSeconds
agents.defaults.modelPreset agents.defaults.providerRetryMode
agents.defaults.sessionTtlMinutes agents.defaults.timezoneMode agents.defaults.toolHintMaxLength
agents.defaults.unifiedSession
providers.*.apiType providers.*.displayName providers.*.extraQuery providers.*.profile providers.*.proxy
providers.*.region providers.*.thinkingStyle
tools.cliApps tools.imageGeneration tools.maxSessionMessagesPerMinute tools.my tools.myEnabled
tools.mySet tools.web.fetch tools.webuiAllowLocalServiceAccess tools.webuiAllowRemotePackageInstall
tools.exec.allowPatterns tools.exec.denyPatterns tools.exec.restrictToWorkspace
"""
KEYS = [pattern.split(".") for pattern in _PATTERNS.split()]

_SERVED = """
custom openrouter aihubmix anthropic openai deepseek gemini zhipu dashscope moonshot minimax mistral siliconflow groq
ollama lm_studio vllm demo
"""
_NOT_SERVED = """
azure_openai bedrock orcarouter edenai novita huggingface modelscope skywork opencode opencode_zen opencode_go volcengine
volcengine_coding_plan byteplus byteplus_coding_plan openai_codex xai_grok github_copilot kimi_coding minimax_anthropic
stepfun xiaomi_mimo longcat ant_ling qianfan nvidia assemblyai atomic_chat ovms
"""
PROVIDERS = tuple(_SERVED.split())
"""The providers of providers/registry.py, which this package does not import; a test compares them."""
THEIR_PROVIDERS = tuple(_NOT_SERVED.split())
_KNOWN = frozenset(map(loose, (*PROVIDERS, *THEIR_PROVIDERS)))

THEIR_SEARCHES = ("olostep", "bocha", "volcengine", "keenable")
"""Search services that are not served here."""

PROCESS_VARIABLES = frozenset(
    {
        "NANOBOT_LLM_TIMEOUT_S",
        "NANOBOT_MAX_CONCURRENT_REQUESTS",
        "NANOBOT_OPENAI_COMPAT_TIMEOUT_S",
        "NANOBOT_STREAM_IDLE_TIMEOUT_S",
    }
)
"""Environment variables of HKUDS/nanobot that are no keys of its file."""


@attrs.frozen
class Habit:
    """A default that older files write out: at `path`, this `value` counts as not written."""

    path: Path
    value: Json


HABITS = (
    Habit(("gateway", "host"), "0.0.0.0"),
    Habit(("tools", "restrictToWorkspace"), False),
)
LONGEST_COMMAND_S = 86400
"""What their `tools.exec.timeout: 0`, no limit, becomes: ours must end some day."""


def is_theirs(path: Path) -> bool:
    """Whether a key that we do not have is one of HKUDS/nanobot's."""
    return any(len(keys) == len(path) and all(key in ("*", step) for key, step in zip(keys, path, strict=True)) for keys in KEYS)


def is_known_provider(name: str) -> bool:
    return loose(name) in _KNOWN


def is_their_provider(name: str) -> bool:
    """Known, and not served here unless it is given an `apiBase`."""
    return is_known_provider(name) and loose(name) not in map(loose, PROVIDERS)


def modernised(root: dict[str, Json]) -> list[str]:
    """Turn a file without `configVersion` (keys in camelCase) into what it means here, in place; returns warnings."""
    tools, command = _object(root, "tools"), _object(_object(root, "tools"), "exec")
    if "restrictToWorkspace" in command:
        tools.setdefault("restrictToWorkspace", command.pop("restrictToWorkspace"))
    warnings = []
    if command.get("timeout") == 0 and command["timeout"] is not False:
        command["timeout"] = LONGEST_COMMAND_S
        warnings.append(f"tools.exec.timeout: 0 (no limit) counts as {LONGEST_COMMAND_S} seconds here")
    if command.get("sandbox") == "":  # their word for none, which they write out unasked
        del command["sandbox"]
    warnings += _searching(_object(_object(tools, "web"), "search"))
    for section, name in (("transcription", "provider"), ("channels", "transcriptionProvider")):
        if _object(root, section).get(name) == "groq":  # written out unasked, and the first that is tried in any case
            del _object(root, section)[name]
    if dropped := [text for habit in HABITS if (text := _dropped(root, habit))]:
        warnings.append(
            f"{' and '.join(dropped)} count as not set, because older versions wrote them unasked; "
            'to turn them on, add "configVersion": 1'
        )
    return warnings


def _searching(search: dict[str, Json]) -> list[str]:
    """What is left out of `tools.web.search`."""
    warnings = []
    if search.get("provider") in THEIR_SEARCHES:
        warnings.append(f"tools.web.search.provider: {search.pop('provider')} is not served here, so duckduckgo is used")
        search["apiKey"] = ""
    if search.get("baseUrl") and search.get("provider") != "searxng":
        del search["baseUrl"]
        warnings.append("tools.web.search.baseUrl counts as not set, because older versions only used it for searxng")
    return warnings


def _dropped(root: dict[str, Json], habit: Habit) -> str | None:
    parent = _object(root, str(habit.path[0]))
    name = str(habit.path[1])
    if name not in parent or parent[name] != habit.value or isinstance(parent[name], bool) != isinstance(habit.value, bool):
        return None
    del parent[name]
    return f"{dotted(habit.path)}: {str(habit.value).lower()}"


def _object(parent: dict[str, Json], name: str) -> dict[str, Json]:
    """The object below, or an empty one that belongs to nobody."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}
