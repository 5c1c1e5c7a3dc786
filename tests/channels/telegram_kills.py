"""`nanobot gateway` with Telegram, as a real process, killed at drawn moments while people write: what is there when all is over?

    python -m tests.channels.telegram_kills [--kills 100] [--seed 7]

Nothing may be lost: every message is answered and confirmed in the end. What was being sent at a kill may stand twice, and no
more than that; what joined a session twice would, too.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.daemon import Daemon, start
from tests.fakes.telegram import FakeTelegram, telegram_in_thread

CHATS = tuple(range(51, 61))
"""Each writes again when it was answered: what joins a turn beside another message is answered with that."""
LONGEST_S = 1.5
"""After it polls: so long a gateway lives at most."""
PATIENCE_S = 60.0


def config(fake: FakeTelegram) -> dict[str, Any]:
    section = {
        "enabled": True,
        "token": fake.token,
        "apiBase": fake.url,
        "allowFrom": ["*"],
        "replyToMessage": True,
        "streaming": False,
        "reactEmoji": "",
        "pollS": 2,
    }
    return {"channels": {"telegram": section}}


def answers(fake: FakeTelegram) -> Counter[int]:
    """How many answers to each message there are: they quote it."""
    sent = [call.params for call in list(fake.calls) if call.method == "sendMessage"]
    return Counter(params["reply_parameters"]["message_id"] for params in sent if "reply_parameters" in params)


def until(fact: Callable[[], object], daemon: Daemon, seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not fact():
        assert daemon.process.poll() is None, daemon.said()
        assert time.monotonic() < end, daemon.log()[-3000:]
        time.sleep(0.01)


def campaign(place: Path, rounds: int, seed: int) -> tuple[list[int], Counter[int], list[int]]:
    """The messages that were written, the answers to each, and the updates that were never confirmed."""
    draw, said = random.Random(seed), []
    open_: dict[int, int] = {}
    with telegram_in_thread() as (fake, call):

        def write(chat: int) -> None:
            if chat in open_ and open_[chat] not in answers(fake):
                return
            open_[chat] = call(lambda: fake.says("hello", user={"id": chat, "is_bot": False, "first_name": "Ann"}))
            said.append(open_[chat])

        for _ in range(rounds):
            shutil.rmtree(place / "starts", ignore_errors=True)  # so many deaths within minutes would end what is unfinished
            polls, daemon = fake.polls, start(place, config(fake))
            try:
                until(lambda: fake.polls > polls, daemon)  # noqa: B023
                end = time.monotonic() + draw.uniform(0.0, LONGEST_S)
                while time.monotonic() < end:
                    write(draw.choice(CHATS))
                    time.sleep(draw.uniform(0.0, 0.15))
            finally:
                daemon.process.kill()
                daemon.process.wait()
        shutil.rmtree(place / "starts", ignore_errors=True)
        daemon = start(place, config(fake))
        try:
            until(lambda: set(said) <= answers(fake).keys() and not fake.updates, daemon)
        finally:
            daemon.process.kill()
            daemon.process.wait()
        return said, answers(fake), [one["update_id"] for one in fake.updates]


def main(rounds: int, seed: int) -> int:
    with tempfile.TemporaryDirectory() as place:
        said, found, waiting = campaign(Path(place), rounds, seed)
    lost = [message for message in said if message not in found]
    doubled = sum(found[message] - 1 for message in said if message in found)
    print(f"{rounds} kills, seed {seed}: {len(said)} messages, lost {len(lost)}, not confirmed {len(waiting)}")
    print(f"answers that stand twice: {doubled} (what was being sent at a kill may)")
    return int(bool(lost or waiting) or doubled > rounds * len(CHATS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    sys.exit(main(arguments.kills, arguments.seed))
