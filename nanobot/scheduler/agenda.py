"""Which jobs there are and what is due next: a heap, so that the next one is found at once however many there are.

Blocks nowhere but in `load` and `due`, which compute; both are called in a thread, one at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import attrs

from nanobot.config.schema import CronConfig
from nanobot.scheduler.catchup import Settled, Terms, settle
from nanobot.scheduler.jobs import At, Cron, Every, Job, JobId, Slot
from nanobot.scheduler.runs import Head
from nanobot.scheduler.slots import next_slot

MOST_AT_ONCE = 10_000
"""Records that are committed together: thousands of jobs after a long pause have millions, which must not all be in memory, and
what was settled first need not wait for the last."""
BACK_MS = 86_400_000
"""Milliseconds by which a clock must have been set back for what was settled after it to count no more: it was wrong before."""


@attrs.define(eq=False)
class Agenda:
    """See the module."""

    jobs: dict[JobId, Job] = attrs.field(factory=dict, init=False)
    heads: dict[JobId, Head] = attrs.field(factory=dict, init=False)
    _next: dict[JobId, Slot] = attrs.field(factory=dict, init=False)
    _heap: list[tuple[Slot, JobId]] = attrs.field(factory=list, init=False)
    """With entries that are out of date: those that differ from `_next`."""

    def changes(self, jobs: Iterable[Job], edited_ms: int, now_ms: int) -> tuple[dict[JobId, Head], set[JobId]]:
        """The heads that these jobs need and have not, and the jobs that are gone. `edited_ms`: when their file was written."""
        wanted = {job.id: job for job in jobs}
        heads: dict[JobId, Head] = {}
        for job in wanted.values():
            head = self.heads.get(job.id)
            if head is None:
                known = max(job.created_ms, job.updated_ms, job.ran_ms) or edited_ms
                heads[job.id] = Head(Slot(min(known, now_ms)), 0, shape_of(job))
            elif head.shape != shape_of(job):
                edited = job.updated_ms if job.updated_ms > head.floor_ms else edited_ms
                heads[job.id] = Head(head.committed, min(edited, now_ms), shape_of(job))
        return heads, set(self.heads) - set(wanted)

    def ahead(self, now_ms: int) -> dict[JobId, Head]:
        """What must count of the heads that the clock had far in the future: else their jobs were silent until then."""
        far = now_ms + BACK_MS
        return {
            id: attrs.evolve(head, committed=Slot(min(head.committed, now_ms)), floor_ms=min(head.floor_ms, now_ms))
            for id, head in self.heads.items()
            if head.after > far
        }

    def load(self, jobs: Iterable[Job], heads: Mapping[JobId, Head], zone: str, *, anew: bool = False) -> None:
        """These are the jobs from now on. `heads`: what counts now of `changes`. `anew`: clocks have another zone."""
        wanted = {job.id: job for job in jobs}
        for gone in set(self.heads) - set(wanted):
            del self.heads[gone]
            self._next.pop(gone, None)
        self.heads.update(heads)
        for id, job in wanted.items():
            if anew or id in heads or id not in self.jobs:
                self._plan(job, zone)
        self.jobs = wanted

    def next(self) -> Slot | None:
        """The next slot of all."""
        while self._heap and self._next.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def next_of(self, id: JobId) -> Slot | None:
        return self._next.get(id)

    def due(self, now_ms: int, zone: str, config: CronConfig) -> dict[JobId, Settled]:
        """What is due and what becomes of it, the longest due first; what is left comes when that is committed. Changes nothing:
        what is committed is told by `committed`."""
        found: dict[JobId, Settled] = {}
        records = 0
        for job in map(self.jobs.__getitem__, self._up_to(now_ms)):
            settled = settle(job.schedule, self.heads[job.id].after, now_ms, zone, Terms.of(job, config))
            if settled is not None:
                found[job.id] = settled
                records += len(settled.run) + len(settled.missed)
            if records >= MOST_AT_ONCE:
                break
        return found

    def committed(self, settled: Mapping[JobId, Settled], zone: str) -> None:
        """The slots up to these are on disk."""
        for id, fate in settled.items():
            if id in self.jobs:
                self.heads[id] = attrs.evolve(self.heads[id], committed=fate.upto)
                self._plan(self.jobs[id], zone)

    def _up_to(self, now_ms: int) -> list[JobId]:
        """Jobs with a slot up to now; they stay in the heap."""
        found: list[tuple[Slot, JobId]] = []
        while (slot := self.next()) is not None and slot <= now_ms:
            found.append(heapq.heappop(self._heap))
        for entry in found:
            heapq.heappush(self._heap, entry)
        return list(dict.fromkeys(id for _, id in found))

    def _plan(self, job: Job, zone: str) -> None:
        slot = next_slot(job.schedule, self.heads[job.id].after, zone) if job.enabled else None
        if slot is None:
            self._next.pop(job.id, None)
        elif self._next.get(job.id) != slot:
            self._next[job.id] = slot
            heapq.heappush(self._heap, (slot, job.id))


def shape_of(job: Job) -> str:
    """A text that is another when other slots are due."""
    if not job.enabled:
        return "off"
    match job.schedule:
        case At(at_ms):
            return f"at {at_ms}"
        case Every(every_ms, anchor_ms):
            return f"every {every_ms} {anchor_ms}"
        case Cron(expr, zone):
            return f"cron {expr} {zone}"
