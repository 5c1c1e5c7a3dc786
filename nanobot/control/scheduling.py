"""The scheduler of the running gateway, put together from the gateway's parts, as a child of its supervisor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from nanobot.agent.schedules import JobDesk
from nanobot.channels.outlet import Channels
from nanobot.config.paths import Places
from nanobot.control.desk import Desk
from nanobot.control.reload import Current, sections
from nanobot.daemon.notices import Notices
from nanobot.messages import Principal
from nanobot.scheduler.lines import Gates
from nanobot.scheduler.service import Earlier, Service
from nanobot.security.access import Access
from nanobot.security.ledger import Ledger
from nanobot.session.registry import Registry, Watch
from nanobot.supervise.policy import Policy
from nanobot.supervise.supervisor import Child, Supervisor
from nanobot.usage.meter import LiveMeter

NAME = "cron"


class House(Protocol):
    """gateway/house.py."""

    registry: Registry
    watchers: list[Watch]
    clock: Callable[[], float]

    @property
    def jobs(self) -> JobDesk: ...

    @property
    def meter(self) -> LiveMeter: ...

    async def check_space(self) -> None:
        """Raises: DiskFull."""
        ...


def begin(
    house: House,
    places: Places,
    current: Current,
    *,
    access: Access,
    channels: Channels,
    notices: Notices,
    supervisor: Supervisor,
    desk: Desk,
) -> Service:
    """Start the scheduler; `supervisor` must live. Whoever ends the house closes it before."""
    workspace = places.workspace(current.config)
    service = Service(
        house.jobs.store,
        house.jobs.runs,
        house.registry,
        lambda: current.config,
        house.clock,
        notices.tell,
        Gates(house.meter.may_run, partial(_let_in, access, current), channels.unreachable, house.check_space),
        Earlier(workspace / "cron" / "jobs.json", Ledger(places.tainted, workspace).taints),
    )
    house.watchers.append(service.watch)
    house.jobs.service = desk.scheduler = service
    policy = Policy.of(current.config.gateway.restarts)
    supervisor.add(Child(NAME, "service", service.serve, policy, facts=service.facts))
    return service


def _let_in(access: Access, current: Current, principal: str) -> str:
    """Why who made a job has no work done any more; empty if they have."""
    who = Principal.parse(principal)
    if access.speaks(principal, dict(sections(current.config.channels)).get(who.channel)):
        return ""
    return f"{who.user} on {who.channel}, who made it, may not speak to the assistant any more: nanobot guide access"
