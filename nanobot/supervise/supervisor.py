"""The supervisor: each child lives, ends, and lives again by its policy, without touching its siblings.

Theory of operation. Every child has one *keeper*, a task of `run`, and nobody else starts or ends it. The keeper runs one *life*
after the other. A life is a task in which `serve` runs, under a scope and a log context of its own; all tasks that come of it,
wherever they are started, carry it in a context variable. So what is left of a life is known exactly: every task that still
carries it, and every thread that a WorkerStuck has named. No life of a child begins before nothing is left of the one before.

The task of a life hangs below Trio's root and not below `run`: a nursery cannot be left before its last task, so a single child
that shields itself for ever would hold its siblings, `run` and the rest of the shutdown. In return the keeper ends it in every
case: it cancels it and waits, shielded, `STOP_S` seconds; what is left then is said to be `stuck`, with its stack, and waited
for as long as it takes. (At the end of the process such a task holds `trio.run`; the process's own deadline is for that.)

* `up` is said by the child (`task_status.started()`); how long it was up is its health.
* ChildFailed is expected and logged as a warning; every other Exception is a bug and logged as an error. Returning is a failure.
  Cancelled, and a bug in here, pass through; a child's SystemExit or KeyboardInterrupt ends the run of Trio.
* `run`, cancelled, ends all children at once and returns within `STOP_S`; the log and `on_change` are told what does not end.
* A task that a child starts and that is to outlive it (a session that its message woke) must be started in another context:
  `context.run(nursery.start_soon, ...)`. Else it counts as the child's.
"""

from __future__ import annotations

import contextvars
import math
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import trio
from loguru import logger

from nanobot.config.redaction import clean
from nanobot.errors import NanobotError
from nanobot.supervise.asyncio_worker import WorkerStuck
from nanobot.supervise.policy import Cause, ChildFailed, Exit, Policy, Wait, decide
from nanobot.supervise.remains import tasks, where
from nanobot.supervise.status import Node

STOP_S = 5.0
"""Seconds for a cancelled child to end: a worker thread takes 2, a child process hardly 3; `docker stop` waits 10."""
LOOK_S = 0.2
"""Seconds between two looks for what is left: foreign tasks and threads tell nobody of their end, and a look walks all tasks."""


class UnknownChild(NanobotError):
    """There is none of that name."""


class ChildStuck(NanobotError):
    """It does not end. It is not started again before it has."""


class Serve(Protocol):
    def __call__(self, *, task_status: trio.TaskStatus[None]) -> Awaitable[object]: ...


@attrs.frozen
class Child:
    name: str
    kind: str
    serve: Serve
    """Says `started` once it is of use, and lives until it is cancelled. Raises: ChildFailed."""
    policy: Policy = Policy()
    facts: Callable[[], tuple[tuple[str, str], ...]] = lambda: ()
    """Further lines of its node."""


@attrs.define(eq=False)
class Supervisor:
    """See the module. `clock`: seconds since the epoch. `on_change` is told every new state; it must not block or raise."""

    clock: Callable[[], float]
    on_change: Callable[[Node], None] = lambda _node: None
    jitter: Callable[[], float] = random.random
    keepers: dict[str, _Keeper] = attrs.field(factory=dict, init=False)
    _start: Callable[[_Keeper], None] = attrs.field(init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the children until cancelled."""
        context = contextvars.copy_context()  # a child may be added by a task of another one
        async with trio.open_nursery() as nursery:
            self._start = lambda keeper: context.run(lambda: nursery.start_soon(keeper.run, name=f"keep {keeper.child.name}"))
            task_status.started()
            await trio.sleep_forever()

    def add(self, child: Child) -> None:
        """Start it. Its name must be new, and `run` live."""
        if child.name in self.keepers:
            raise ValueError(f"there is a child {child.name!r} already")
        keeper = self.keepers[child.name] = _Keeper(self, child, Node(child.name, child.kind, "starting", self.clock()))
        self._start(keeper)

    async def remove(self, name: str) -> None:
        """End it and free its name. Raises: UnknownChild. ChildStuck, after `STOP_S`; it is removed once it ends."""
        await self._keeper(name).interrupted(leaving=True)

    async def restart(self, name: str) -> None:
        """End it if it lives, forget its failures, start it. Raises: UnknownChild. ChildStuck, after `STOP_S`."""
        await self._keeper(name).interrupted(leaving=False)

    def fail(self, name: str, error: ChildFailed) -> None:
        """End its life for what others have noticed. Raises: UnknownChild."""
        self._keeper(name).fail(error)

    def nodes(self) -> tuple[Node, ...]:
        return tuple(attrs.evolve(keeper.node, facts=keeper.child.facts()) for keeper in self.keepers.values())

    def _keeper(self, name: str) -> _Keeper:
        if name not in self.keepers:
            raise UnknownChild(f"there is no {name!r}; there is {', '.join(self.keepers) or 'nothing'}")
        return self.keepers[name]


@attrs.define(eq=False)
class _Keeper:
    """See the module. What it holds of a life is the present or last one's; it is the `task_status` too."""

    house: Supervisor
    child: Child
    node: Node
    exits: list[Exit] = attrs.field(factory=list)
    exit: Exit = Exit(0.0, Cause.TRANSIENT, "")
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    over: trio.Event = attrs.field(factory=trio.Event)
    """The life has ended, or is to."""
    interrupt: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around all that the keeper does: cancelled by who wants something else."""
    heard: trio.Event = attrs.field(factory=trio.Event)
    """It has seen to that."""
    leaving: bool = False

    async def run(self) -> None:
        """One life after the other, and the pauses between, until it leaves."""
        try:
            while not self.leaving or self.left():
                with self.interrupt:
                    if not self.left():
                        await self._live()
                    await self._gone()
                    await trio.sleep(0 if self.leaving else self._judge())
                self.heard.set()
                self.interrupt, self.heard = trio.CancelScope(), trio.Event()
        finally:
            self.heard.set()
            del self.house.keepers[self.child.name]

    async def interrupted(self, *, leaving: bool) -> None:
        self.leaving, self.exits = leaving, []
        self.interrupt.cancel()
        await self.heard.wait()
        if self.left() and self.node.state == "stuck":
            raise ChildStuck(f"{self.child.name} does not end and is left alone until it does: {self.node.error}")

    def left(self) -> list[str]:
        """What is left of the life, and where it is."""
        named = [one.name for one in threading.enumerate() if f"\n{one.name}:\n" in self.exit.error]
        return [where(task) for task in tasks() if task.context.get(_life) is self] + named

    async def _live(self) -> None:
        self.exit, self.scope, self.over = Exit(0.0, Cause.TRANSIENT, ""), trio.CancelScope(), trio.Event()
        self._say("starting")
        trio.lowlevel.spawn_system_task(self._serve, name=self.child.name, context=contextvars.copy_context())
        try:
            await self.over.wait()
        finally:
            self.scope.cancel()
            up_s = self.house.clock() - self.node.since if self.node.state == "up" else 0.0
            self.exit = attrs.evolve(self.exit, healthy_s=up_s)
            self._say("stopping")
            with trio.move_on_after(STOP_S, shield=True):
                await self._gone()
            if left := self.left():
                self.fail(ChildFailed("\n".join(filter(None, ("it does not end", self.exit.error, *left))), cause=Cause.STUCK))
                self._say("stuck")

    async def _gone(self) -> None:
        await self.over.wait()
        while self.left():  # noqa: ASYNC110  # see LOOK_S
            await trio.sleep(LOOK_S)

    async def _serve(self) -> None:
        _life.set(self)
        try:
            with self.scope, logger.contextualize(**{self.child.kind: self.child.name}):
                await self.child.serve(task_status=self)
                if not self.scope.cancel_called:
                    self.fail(ChildFailed("it returned, and should live", cause=Cause.RETURNED))
        except* Exception as group:  # noqa: BLE001  # the supervisor: reported, started again by policy
            self.fail(group)
        finally:
            self.over.set()

    def started(self, value: None = None) -> None:
        # a cancelled task still runs until its next checkpoint
        if self.node.state == "starting" and not self.scope.cancel_called:
            self._say("up")

    def fail(self, error: Exception) -> None:
        self.exit = max(*_exits(error, self.house.clock()), self.exit, key=lambda one: list(Cause).index(one.cause))
        level = "ERROR" if self.exit.cause in (Cause.BUG, Cause.STUCK) else "WARNING"
        logger.opt(exception=error).log(level, "{} {} failed: {}", self.child.kind, self.child.name, self.exit.error)
        self.scope.cancel()
        self.over.set()

    def _judge(self) -> float:
        self.exits = [*self.exits, self.exit][-self.child.policy.park_after :]
        step = decide(self.child.policy, self.exits, self.house.jitter())
        pause_s = step.seconds if isinstance(step, Wait) else step.retry_s or math.inf
        self._say("waiting" if isinstance(step, Wait) else "parked", pause_s)
        return pause_s

    def _say(self, state: str, pause_s: float = 0.0) -> None:
        now = self.house.clock()
        until = now + pause_s if 0 < pause_s < math.inf else None
        waiting = "its next start" if until else "somebody to restart it" if pause_s else ""
        error = clean(self.exit.error) or self.node.error
        restarts = self.node.restarts + (state == "starting" != self.node.state)
        self.node = attrs.evolve(self.node, state=state, since=now, restarts=restarts, error=error, waiting=waiting, until=until)
        self.house.on_change(self.node)


_life: contextvars.ContextVar[_Keeper] = contextvars.ContextVar("life")


def _exits(error: BaseException, at: float) -> list[Exit]:
    """Each thing that went wrong, in the child's own words where it has some; without the error, which would keep its frames."""
    if isinstance(error, BaseExceptionGroup):
        return [exit for one in error.exceptions for exit in _exits(one, at)]
    if isinstance(error, ChildFailed):
        return [Exit(at, error.cause, str(error), error.retry_after)]
    cause = Cause.STUCK if isinstance(error, WorkerStuck) else Cause.BUG
    return [Exit(at, cause, f"{type(error).__name__}: {error}")]
