"""What lives in this process: the proof that nothing remains of what has ended.

    before = Census.now()
    ...
    assert Census.now().beyond(before) == ()

Both are taken in the same run of Trio, whose own descriptors are then in both; outside of one there are no tasks to see.
Tasks and threads are known everywhere. Sockets, other descriptors and child processes (zombies, Z, too) are read from /proc;
where there is none, `unseen` says what it cannot tell. A thread that Trio keeps for its next job is nobody's remains.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import trio

FRAMES = 8
"""The innermost ones of a stack: enough to recognise a place, for the last three are Trio's."""


@attrs.frozen
class Census:
    things: dict[object, str]
    """Identity -> name, for people."""
    unseen: tuple[str, ...] = ()
    """What cannot be told on this system."""

    @classmethod
    def now(cls, proc: Path = Path("/proc")) -> Census:
        things: dict[object, str] = {task: f"task {task.name}" for task in tasks()}
        # between two jobs a thread of Trio's is called so, in one it bears the job's name
        things |= {one: f"thread {one.name}" for one in threading.enumerate() if not one.name.startswith("Trio thread ")}
        unseen = () if (proc / "self/fd").is_dir() else ("sockets", "descriptors", "child processes")
        return cls(things if unseen else things | dict(_shown(proc)), unseen)

    def beyond(self, before: Census) -> tuple[str, ...]:
        """The names of what is here and was not there."""
        return tuple(name for thing, name in self.things.items() if thing not in before.things)


def tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task of this run of Trio, each before its children; none outside of a run."""
    found = list(filter(None, [trio.lowlevel.current_root_task()])) if trio.lowlevel.in_trio_run() else []
    for task in found:
        yield task
        found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def where(task: trio.lowlevel.Task) -> str:
    """Where it waits, for people."""
    return f"task {task.name}:\n" + "".join(traceback.StackSummary.extract(task.iter_await_frames(), limit=-FRAMES).format())


def _shown(proc: Path) -> Iterator[tuple[object, str]]:
    for entry in (proc / "self/fd").iterdir():
        with suppress(OSError):  # it was the listing's own, or is closed by now
            target = os.readlink(entry)
            yield (entry.name, target), f"descriptor {entry.name} {target}"
    for stat in proc.glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            name, _, rest = stat.read_text(errors="replace").rpartition(") ")
            if rest.split()[1] == str(os.getpid()):
                yield name, f"process {name}) {rest[0]}"
