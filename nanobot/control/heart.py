"""The heartbeat of the running gateway, put together from the gateway's parts, as a child of its supervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nanobot.agent.deciding import ModelDecider
from nanobot.agent.mind import ModelMind
from nanobot.config.paths import Places
from nanobot.control.reload import Current
from nanobot.daemon.backlog import Backlog
from nanobot.daemon.notices import Notices
from nanobot.scheduler.heartbeat import Heartbeat, Surroundings
from nanobot.security.ledger import Ledger
from nanobot.session.registry import Registry, Watch
from nanobot.supervise.policy import Policy
from nanobot.supervise.supervisor import Child, Supervisor
from nanobot.usage.meter import LiveMeter

NAME = "heartbeat"


class House(Protocol):
    """gateway/house.py."""

    registry: Registry
    watchers: list[Watch]
    clock: Callable[[], float]

    @property
    def mind(self) -> ModelMind: ...

    @property
    def meter(self) -> LiveMeter: ...


def begin(
    house: House, places: Places, current: Current, *, backlog: Backlog, notices: Notices, supervisor: Supervisor
) -> Heartbeat:
    """Start it; `supervisor` must live."""
    workspace = places.workspace(current.config)
    heartbeat = Heartbeat(
        Surroundings(
            config=lambda: current.config,
            workspace=workspace,
            file=places.heartbeat,
            taints=Ledger(places.tainted, workspace).taints,
            decider=ModelDecider(house.mind, house.meter, house.clock),
            budget=house.meter,
            sessions=house.registry,
            owner_at=lambda: next(iter(backlog.state.chats), ""),
            tell=notices.tell,
            clock=house.clock,
        )
    )
    house.watchers.append(heartbeat.watch)
    policy = Policy.of(current.config.gateway.restarts)
    supervisor.add(Child(NAME, "service", heartbeat.serve, policy, facts=heartbeat.facts))
    return heartbeat
