"""The tools of this assistant: one list, in a fixed order, and the one place that runs a call.

`Tools.run` never raises but for cancellation. Whatever a call ends in becomes a `Result` that the model can act on: an
unknown name, arguments that do not fit, a `ToolError`, and also a bug of ours, which is reported as one. The deadline of a
call (`timeout_of`) is the caller's scope.

The order of the list is the order of the prompt and never changes from run to run, so that prompts stay cached.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import attrs
from loguru import logger

from nanobot.config.schema import Config
from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.processes.children import clean_env
from nanobot.processes.sandbox import Isolation
from nanobot.providers.port import ToolSpec
from nanobot.security.egress import Egress
from nanobot.skills.propose import PROPOSE_TOOL
from nanobot.tools.background import KILL_PROCESS, LIST_PROCESSES, WRITE_STDIN
from nanobot.tools.cron import CRON_TOOL
from nanobot.tools.documents import Converter
from nanobot.tools.edit import EDIT_TOOL
from nanobot.tools.files import WRITE_TOOL, read_tool
from nanobot.tools.grep import grep_tool
from nanobot.tools.message import MESSAGE_TOOL
from nanobot.tools.patch import PATCH_TOOL
from nanobot.tools.port import Intent, Result, Tool, ToolTurn
from nanobot.tools.results import capped
from nanobot.tools.schema import parse, schema_of
from nanobot.tools.search import FIND_TOOL, LIST_TOOL
from nanobot.tools.search_history import SEARCH_HISTORY_TOOL
from nanobot.tools.shell import exec_tool
from nanobot.tools.spawn import spawn_tool
from nanobot.tools.web import web_fetch_tool
from nanobot.tools.web_search import web_search_tool

P = TypeVar("P")
Offers = Callable[[str, Effect], bool]
"""Whether a tool of that name and effect is offered."""
HINT = "Change the call accordingly, do not repeat it as it was."
OWN_PAGES = frozenset(["read_file"])
"""Tools whose results come in pages and are not capped here."""


@attrs.frozen
class Bound:
    """A tool with its parameters class taken in: it runs on JSON text."""

    spec: ToolSpec
    intent: Callable[[str, ToolTurn], Intent]
    run: Callable[[str, ToolTurn], Awaitable[Result]]
    effect: Effect
    timeout_s: float | None


def bound(tool: Tool[P]) -> Bound:
    async def run(arguments: str, turn: ToolTurn) -> Result:
        return await tool.run(parse(tool.params, arguments), turn)

    def intent(arguments: str, turn: ToolTurn) -> Intent:
        params = parse(tool.params, arguments)
        return Intent(tool.name, arguments) if tool.intent is None else tool.intent(params, turn)

    return Bound(ToolSpec(tool.name, tool.description, schema_of(tool.params)), intent, run, tool.effect, tool.timeout_s)


class Tools:
    """A fixed set of tools."""

    def __init__(self, tools: Iterable[Bound], cap: int) -> None:
        """cap: most characters of a result."""
        self._tools = {tool.spec.name: tool for tool in tools}
        self._cap = cap

    def specs(self, offered: Offers = lambda _name, _effect: True) -> tuple[ToolSpec, ...]:
        """What the model is offered; the same list for the same `offered`."""
        return tuple(tool.spec for name, tool in self._tools.items() if offered(name, tool.effect))

    def with_more(self, more: Iterable[Bound]) -> Tools:
        """These, and more behind them."""
        return Tools((*self._tools.values(), *more), self._cap)

    def has(self, name: str) -> bool:
        return name in self._tools

    def intent(self, name: str, arguments: str, turn: ToolTurn) -> Intent:
        """What a call would do. May block. Raises: ToolError, also where the tool has gone since it was asked for."""
        if name not in self._tools:
            raise ToolError(f"not run: there is no tool {name} any more: it was turned off, or its server is gone or given up")
        return self._tools[name].intent(arguments, turn)

    def effect_of(self, name: str) -> Effect:
        """An unknown name reads: it will not run."""
        return self._tools[name].effect if name in self._tools else Effect.READS

    def timeout_of(self, name: str) -> float | None:
        """The tool's own deadline in seconds, None where it has none."""
        return self._tools[name].timeout_s if name in self._tools else None

    async def run(self, name: str, arguments: str, turn: ToolTurn) -> Result:
        """Run one call. `arguments` is JSON text as the model wrote it."""
        tool = self._tools.get(name)
        if tool is None:
            return Result(self.unknown(name, list(self._tools)), failed=True)
        result = await _outcome(tool, arguments, turn)
        return result if name in OWN_PAGES and not result.failed else await capped(result, self._cap, turn, name)

    def unknown(self, name: str, there: Sequence[str]) -> str:
        """What the model is told that asks for what is not there."""
        near = difflib.get_close_matches(name, there, n=3, cutoff=0.4)
        names = [*near, *(known for known in there if known not in near)]
        return f"There is no tool {name!r}. There are: {', '.join(names) or 'none'}."


async def _outcome(tool: Bound, arguments: str, turn: ToolTurn) -> Result:
    try:
        return await tool.run(arguments, turn)
    except ToolError as error:
        return Result(f"Error: {error}\n{HINT}", failed=True)
    except Exception as error:  # noqa: BLE001  # the one place where a tool's bug ends: reported, and told to the model
        logger.opt(exception=error).error("tool {} failed in a way it should not", tool.spec.name)
        return Result(f"Error: {tool.spec.name} failed because of a fault in it ({type(error).__name__}). {HINT}", failed=True)


def build_tools(
    config: Config,
    isolation: Isolation,
    egress: Egress | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    inherit_fds: Sequence[int] = (),
) -> Tools:
    """The tools that the configuration offers.

    isolation: what was found of the sandbox. egress: the way out; without one there are no web tools.
    inherit_fds: what child processes hold until they are gone (the data lock).
    """
    cap = config.agents.defaults.max_tool_result_chars
    converter = Converter(clean_env(config.tools.exec, environ), inherit_fds)
    tools: list[Bound] = []
    if config.tools.file.enable:
        tools += [
            bound(read_tool(cap, converter)),
            bound(WRITE_TOOL),
            bound(EDIT_TOOL),
            bound(PATCH_TOOL),
            bound(LIST_TOOL),
            bound(FIND_TOOL),
        ]
        tools += [bound(grep_tool(clean_env(config.tools.exec, environ), inherit_fds)), bound(PROPOSE_TOOL)]
    if config.tools.exec.enable:
        tools += [bound(exec_tool(config.tools.exec, environ, cap, isolation=isolation, inherit_fds=inherit_fds))]
        tools += [bound(WRITE_STDIN), bound(LIST_PROCESSES), bound(KILL_PROCESS)]
    if config.tools.web.enable and egress is not None:
        tools += [bound(web_fetch_tool(egress, converter, cap))]
        tools += [bound(web_search_tool(config.tools, egress, converter, environ))]
    tools += [
        bound(SEARCH_HISTORY_TOOL),
        bound(MESSAGE_TOOL),
        bound(spawn_tool(config.agents.defaults.deadlines.subagent)),
        bound(CRON_TOOL),
    ]
    return Tools(tools, cap)
