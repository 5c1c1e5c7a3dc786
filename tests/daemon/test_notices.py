"""What the owner is told: durable, in the right chat, gathered, once an hour, and never about itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from nanobot.config.schema import GatewayConfig
from nanobot.daemon.backlog import AGAIN_S, Backlog, State, decode, open_backlog, store_in
from nanobot.daemon.notices import GATHER_S, MOST_IN_MESSAGE, MOST_WAITING, RETRY_S, Hand, Notices
from nanobot.errors import InUse, NanobotError
from nanobot.journal.writers import open_writers
from nanobot.messages import SessionKey
from nanobot.supervise.status import Node
from tests.fakes.backlog import in_memory
from tests.session.house_fakes import MemoryLog

WEB, PHONE = "web:default:c1", "telegram:default:42"


@attrs.define(eq=False)
class Setup:
    """`Notices` over a journal in memory; `heard` is what sessions have, a message of one id once."""

    log: MemoryLog = attrs.field(factory=MemoryLog)
    state: State = State(chats=(WEB, PHONE))
    gateway: GatewayConfig = GatewayConfig()
    trouble: NanobotError | float | None = None
    heard: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    backlog: Backlog = attrs.field(init=False)
    notices: Notices = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.backlog = in_memory(self.log, self.state)
        self.notices = self.another()

    def another(self) -> Notices:
        return Notices(self.backlog, self.hand, trio.current_time, self.gateway)

    async def hand(self, key: SessionKey, name: str, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(self.trouble, NanobotError):
            raise self.trouble
        if self.trouble is not None:
            await trio.sleep(self.trouble)
        self.heard.setdefault(name, (str(key), text))

    @property
    def told(self) -> list[tuple[str, str]]:
        return list(self.heard.values())


@asynccontextmanager
async def telling(notices: Notices) -> AsyncIterator[Notices]:
    async with trio.open_nursery() as nursery:
        await nursery.start(notices.run)
        yield notices
        nursery.cancel_scope.cancel()


SOON = 2 * GATHER_S + 0.1

# --- where


@pytest.mark.parametrize(
    ("notify", "chats", "about", "target"),
    [
        (None, (WEB, PHONE), "", WEB),
        (None, (WEB, PHONE), "telegram", WEB),
        (None, (WEB, PHONE), "web", PHONE),
        (None, (PHONE,), "telegram", None),
        (None, (), "", None),
        ("slack:U1", (WEB, PHONE), "telegram", "slack:default:U1"),
        ("slack:U1", (), "slack", "slack:default:U1"),
        ("nonsense", (WEB,), "", WEB),
    ],
)
async def test_where_the_owner_is_told(
    autojump_clock: MockClock, notify: str | None, chats: tuple[str, ...], about: str, target: str | None
) -> None:
    setup = Setup(state=State(chats=chats), gateway=GatewayConfig(notify=notify))
    async with telling(setup.notices):
        setup.notices.tell("something is wrong", about)
        await trio.sleep(SOON)
    assert setup.told == ([] if target is None else [(target, "something is wrong")])


async def test_what_nobody_can_be_told_waits_in_the_status_until_somebody_can(autojump_clock: MockClock) -> None:
    setup = Setup(state=State(chats=(PHONE,)))
    async with telling(setup.notices):
        setup.notices.tell("telegram is parked", "telegram")
        await trio.sleep(1000)
        (node,) = setup.notices.nodes()
        assert (node.state, node.facts) == ("waiting", (("telegram", "telegram is parked"),))
        await setup.backlog.note_owner(WEB)
        await trio.sleep(RETRY_S + SOON)
        assert (setup.told, setup.notices.nodes()[0].state) == ([(WEB, "telegram is parked")], "idle")


async def test_a_changed_configuration_counts_for_what_waits(autojump_clock: MockClock) -> None:
    setup = Setup(state=State())
    async with telling(setup.notices):
        setup.notices.tell("x")
        await trio.sleep(SOON)
        setup.notices.reconfigure(GatewayConfig(notify="telegram:42"))
        await trio.sleep(RETRY_S + SOON)
    assert setup.told == [(PHONE, "x")]


# --- how often


async def test_what_happens_together_is_one_message(autojump_clock: MockClock) -> None:
    setup = Setup()
    async with telling(setup.notices):
        setup.notices.tell("one")
        await trio.sleep(GATHER_S - 0.1)
        setup.notices.tell("two", "telegram")
        setup.notices.tell("three", "web")
        await trio.sleep(SOON)
        setup.notices.tell("four")
        await trio.sleep(SOON)
    assert setup.told == [(WEB, "- one\n- two"), (PHONE, "three"), (WEB, "four")]


async def test_a_long_list_is_cut(autojump_clock: MockClock) -> None:
    setup = Setup()
    async with telling(setup.notices):
        for number in range(MOST_IN_MESSAGE + 2):
            setup.notices.tell(f"{number}")
        await trio.sleep(SOON)
    ((_, text),) = setup.told
    assert text.splitlines()[-2:] == [f"- {MOST_IN_MESSAGE - 1}", "- and 2 more: see the log"]


async def test_the_same_words_are_told_once_an_hour(autojump_clock: MockClock) -> None:
    setup = Setup()
    async with telling(setup.notices):
        for _ in range(int(AGAIN_S / 60) + 1):
            setup.notices.tell("it flaps")
            await trio.sleep(60)
        assert len(setup.told) == 1
        setup.notices.tell("it flaps")
        await trio.sleep(SOON)
    assert setup.told == [(WEB, "it flaps")] * 2


async def test_the_same_words_are_not_told_again_after_a_restart(autojump_clock: MockClock) -> None:
    setup = Setup()
    for _ in range(3):
        notices = setup.another()
        async with telling(notices):
            notices.tell("telegram is parked")
            await trio.sleep(SOON)
    assert setup.told == [(WEB, "telegram is parked")]


async def test_there_is_a_bound_on_what_waits(autojump_clock: MockClock) -> None:
    setup = Setup(state=State())
    async with telling(setup.notices):
        for number in range(MOST_WAITING + 5):
            setup.notices.tell(str(number))
        await trio.sleep(SOON)
    assert len(setup.backlog.state.untold) == MOST_WAITING


# --- that it arrives


async def test_a_notice_is_on_disk_before_others_are_waited_for(autojump_clock: MockClock) -> None:
    setup = Setup()
    async with telling(setup.notices):
        setup.notices.tell("one")
        await trio.sleep(GATHER_S / 2)
        assert [notice.text for notice in decode(setup.log.state, []).untold] == ["one"]
        assert setup.told == []


@pytest.mark.parametrize("trouble", [InUse("session web:c1", 1), 1e6])
async def test_what_a_session_does_not_take_is_tried_again_and_makes_no_notice(
    autojump_clock: MockClock, trouble: NanobotError | float
) -> None:
    setup = Setup(trouble=trouble)
    async with telling(setup.notices):
        setup.notices.tell("one")
        await trio.sleep(300)
        assert (setup.told, [notice.text for notice in setup.backlog.state.notices]) == ([], ["one"])
        setup.trouble = None
        await trio.sleep(RETRY_S + 2 * SOON)
    assert setup.told == [(WEB, "one")]


async def test_a_disk_that_refuses_loses_nothing_and_is_asked_at_intervals(autojump_clock: MockClock) -> None:
    setup = Setup(MemoryLog(failures=10))
    async with telling(setup.notices):
        setup.notices.tell("one")
        await trio.sleep(100)
        assert setup.log.failures > 0, "it was asked all the time"
        await trio.sleep(200)
    assert setup.told == [(WEB, "one")]


async def test_what_was_handed_over_without_a_record_of_it_is_told_once(autojump_clock: MockClock) -> None:
    setup = Setup()
    async with telling(setup.notices):
        setup.notices.tell("one")
        setup.notices.tell("two")
        await trio.sleep(GATHER_S / 2)
        setup.log.failures = 1
        await trio.sleep(SOON)
        assert len(setup.backlog.state.untold) == 2
    async with telling(setup.another()):
        await trio.sleep(SOON)
    assert setup.told == [(WEB, "- one\n- two")]
    assert not setup.backlog.state.untold


async def test_a_notice_outlives_the_gateway(tmp_path: Path) -> None:
    """With a real journal and its threads."""
    heard = trio.Event()

    async def hand(_key: SessionKey, _name: str, text: str) -> None:
        await trio.lowlevel.checkpoint()
        assert text == "one"
        heard.set()

    async with open_writers() as writers:
        store = store_in(tmp_path, writers)
        async with open_backlog(store, trio.current_time) as backlog, telling(notices_of(backlog, hand)) as notices:
            notices.tell("one")
            with trio.fail_after(20):
                while not backlog.state.untold:  # noqa: ASYNC110  # the journal sets no event of ours
                    await trio.sleep(0.005)
        async with open_backlog(store, trio.current_time) as backlog, telling(notices_of(backlog, hand, notify="web:c1")):
            with trio.fail_after(20):
                await heard.wait()


def notices_of(backlog: Backlog, hand: Hand, notify: str | None = None) -> Notices:
    return Notices(backlog, hand, trio.current_time, GatewayConfig(notify=notify))


# --- changes in the tree


async def test_what_stays_broken_is_told_and_when_it_works_again(autojump_clock: MockClock) -> None:
    setup = Setup()
    for state in ("starting", "up", "waiting", "parked", "up", "stopping", "up"):
        setup.notices.on_change(Node("telegram", "channel", state, 1.0, error="the token was revoked"))
    setup.notices.on_change(Node("http", "service", "stuck", 1.0))
    async with telling(setup.notices):
        await trio.sleep(SOON)
    assert setup.told == [
        (
            WEB,
            "- telegram is parked: the token was revoked. When that is put right: nanobot channels restart telegram\n"
            "- telegram works again.\n"
            "- http is stuck: see nanobot status",
        )
    ]
