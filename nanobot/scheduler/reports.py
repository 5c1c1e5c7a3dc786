"""What the owner is told of scheduled work: what came to nothing, once in a row, and what is wrong with its files, once."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from loguru import logger

from nanobot.messages import SessionKey
from nanobot.scheduler.jobs import At, Job, Outcome, Run
from nanobot.scheduler.lines import shown


@attrs.define(eq=False)
class Reports:
    """See the module."""

    _tell: Callable[[str, str], None]
    """Tells the owner a text about a channel, or about none."""
    _reachable: Callable[[str], str]
    """As `Gates.reachable`."""
    _zone: Callable[[], str]
    troubles: dict[str, str] = attrs.field(factory=dict, init=False)
    """For the status, by what they are about."""
    _failing: dict[str, Outcome] = attrs.field(factory=dict, init=False)
    """Jobs whose last run came to nothing, as the owner was told, and people of whose jobs all do."""

    def ended(self, run: Run, job: Job | None, *, told: bool = False) -> None:
        """A run is over. `told`: its chat was told already."""
        if run.outcome is Outcome.OK:
            for about in (run.job, *([job.principal] if job else [])):
                self._failing.pop(about, None)
            return
        logger.info("scheduled work {}, slot {}: {} {}", run.job, run.slot, run.outcome.value, run.error)
        quiet = run.outcome is Outcome.MISSED and not (job is not None and isinstance(job.schedule, At))
        about = run.job if job is None or run.outcome is not Outcome.BARRED else job.principal
        if quiet or self._failing.get(about) is run.outcome:
            return
        self._failing[about] = run.outcome
        if not told:
            self._say(run, job)

    def trouble(self, about: str, text: str) -> None:
        """It stands in the status, and the owner is told once; empty: it is over."""
        if text and text != self.troubles.get(about):
            self._tell(text, "")
        self.troubles[about] = text

    def _say(self, run: Run, job: Job | None) -> None:
        name, why = run.job if job is None else f"{job.name} ({run.job})", f": {run.error}" if run.error else ""
        text = f"Scheduled work {name}, due {shown(run.slot, self._zone())}: {run.outcome.value}{why}"
        channel = SessionKey.parse(run.session).channel
        self._tell(text, channel if self._reachable(channel) else "")  # what is about a channel is told on another
