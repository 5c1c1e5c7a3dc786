"""What a tool is, and what it may use while it runs.

A tool is a frozen attrs class for its parameters (its fields yield the JSON Schema, `schema.py`) and an async function
`run(params, turn)`. It raises `ToolError` with a text that tells the model what to do differently; anything else it raises
is a bug, reported as such by the one place that calls tools (registry.py). Cancelling it leaves no child process, thread or
temporary file of it behind. It shares no mutable state with other calls: what it may use comes in `turn`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import attrs

from nanobot.config.schema import CatchUp
from nanobot.messages import Attachment, Button, CallId, Effect, Principal, SessionKey
from nanobot.processes.running import OwnProcesses

P = TypeVar("P")


@attrs.frozen
class Background:
    """What goes on when its call has ended. `id` is the call's, `text` what it is, for people."""

    id: CallId
    text: str
    task: str = ""
    """What is yet to begin: that of a subagent. A process runs already."""


@attrs.frozen
class Result:
    """What a tool hands back. `text` may be long: the registry caps it and keeps the full text in a file."""

    text: str
    attachments: tuple[Attachment, ...] = ()
    """Images for the model to see."""
    tainted: bool = False
    """Holds text of strangers (pages, mail, files that came from outside)."""
    failed: bool = False
    """It ran and did not succeed (an exit code that is not 0)."""
    full: str | None = None
    """File with the whole text, where `text` is a part of it."""
    background: Background | None = None
    """It goes on beside the turn; its end is a message to the session."""


@attrs.frozen
class Letter:
    """A message for a chat: this one, or `to`."""

    text: str
    to: SessionKey | None = None
    attachments: tuple[Attachment, ...] = ()
    buttons: tuple[Button, ...] = ()


class Post(Protocol):
    """The way to chats."""

    async def __call__(self, letter: Letter) -> Result:
        """It is on disk that it will be sent when this returns; the result says what became of it so far."""
        ...


@attrs.frozen
class Task:
    """For a subagent. `title` is for people."""

    text: str
    title: str
    wait: bool


class Spawn(Protocol):
    """The way to subagents."""

    async def __call__(self, task: Task) -> Result:
        """Its result, or that it has begun. Raises: ToolError."""
        ...


@attrs.frozen
class JobWish:
    """What a job is to be. None: as it is, or for a new one as usual. Of `when`, `every_s`, `cron` and `at` one says when."""

    message: str | None = None
    name: str | None = None
    when: str | None = None
    """In human words."""
    every_s: int | None = None
    cron: str | None = None
    at: str | None = None
    zone: str | None = None
    to: SessionKey | None = None
    """The chat in which it runs and answers; None: the one at hand."""
    catch_up: CatchUp | None = None


@attrs.frozen
class JobSeen:
    """A job that is there, as policy and the person who is asked have to know it."""

    title: str
    chat: str
    """Key of the session that it answers in; empty if it answers nowhere."""


class Schedules(Protocol):
    """The way to scheduled work, in the name of who gave the order. Each raises ToolError. `job`: its id, or its name."""

    def about(self, job: str) -> JobSeen:
        """Blocks."""
        ...

    async def look(self) -> Result: ...

    async def add(self, wish: JobWish) -> Result: ...

    async def update(self, job: str, wish: JobWish) -> Result: ...

    async def remove(self, job: str) -> Result: ...

    async def switch(self, job: str, *, on: bool) -> Result: ...

    async def run_now(self, job: str) -> Result: ...


@attrs.frozen
class Sought:
    """What is looked for in what was said before. None: anything. Times are in human words."""

    words: str
    since: str | None
    until: str | None
    chat: SessionKey | None
    role: str | None
    most: int


class Recall(Protocol):
    """The way to what was said before, as far as who gave the order may know of it. Each raises ToolError."""

    async def search(self, sought: Sought) -> Result: ...

    async def read(self, id: str) -> Result:
        """One result of a search, whole."""
        ...


class TaintLedger(Protocol):
    """Remembers which files hold text of strangers (security/ledger.py). It blocks; paths are resolved."""

    def taints(self, path: Path) -> bool: ...

    def writing(self, path: Path, *, tainted: bool, whole: bool) -> AbstractContextManager[None]: ...


@attrs.frozen
class Intent:
    """What a call would do, as far as policy (security/policy.py) and the person who is asked have to know it."""

    row: str
    """Of the policy table: the tool's name, and where it matters how it would run: `exec:network`."""
    subject: str
    """What a rule's pattern is held against: the command, path, address or chat."""
    terms: str = ""
    """Under which it would run (folder, sandbox, network), for people. An approval is void when they are others."""


@attrs.frozen
class ToolTurn:
    """What one call may use."""

    workspace: Path
    """Absolute, resolved. Relative paths of the model are taken from here."""
    session: SessionKey
    principal: Principal
    call: CallId
    results: Path
    """Folder of ours for full results (0700), inside the data directory."""
    data: Path | None = None
    """The data directory. No tool touches what is in it, but for the workspace and `readable` where they lie inside."""
    readable: tuple[Path, ...] = ()
    """Folders beside the workspace that may be read (the package's skills, full results of this session)."""
    media: Path | None = None
    """Folder of ours for files that are sent from this session (0700), inside the data directory."""
    post: Post | None = None
    spawn: Spawn | None = None
    schedule: Schedules | None = None
    recall: Recall | None = None
    restrict: bool = True
    """Keep file tools inside the workspace."""
    tainted: bool = False
    """Text of strangers stands in the conversation that the call comes from."""
    may_instruct: bool = True
    """May write files that become part of prompts: memory, skills, `SOUL.md` and the like."""
    ledger: TaintLedger | None = None
    """None: no file is remembered."""
    processes: OwnProcesses | None = None
    """Commands of this session and principal that go on beside its turns."""
    progress: Callable[[str], None] = lambda _line: None
    """A line for whoever watches: never stored, must not block."""


@attrs.frozen
class Tool(Generic[P]):
    """A tool as it is registered."""

    name: str
    description: str
    params: type[P]
    run: Callable[[P, ToolTurn], Awaitable[Result]]
    effect: Effect
    timeout_s: float | None = None
    """Its own deadline in seconds; None: `agents.defaults.deadlines.tool`."""
    intent: Callable[[P, ToolTurn], Intent] | None = None
    """What a call would do, where that is more than its name and arguments. May block. Raises: ToolError."""
