"""SIGKILL of the real gateway at drawn moments while people write on WhatsApp; its bridge goes with it.

    python -m tests.channels.whatsapp_kills [--kills 100]

What the bridge has confirmed to WhatsApp is answered in the end, all of it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

import trio
from loguru import logger

from nanobot.channels.whatsapp.bridge import Home
from nanobot.wire import JsonObject
from tests.channels.whatsapp_failures import CHATS, Talker
from tests.fakes import daemon
from tests.fakes.whatsapp import open_network, until


async def main(rounds: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        async with open_network() as network, trio.open_nursery() as nursery:
            network.install(Home(place))
            config: JsonObject = {
                "agents": {"defaults": {"model": "demo", "workspace": str(place / "workspace")}},
                "channels": {"whatsapp": {"enabled": True, "allowFrom": ["*"]}},
                "gateway": {"http": False},
            }
            talkers = [Talker(network, f"49151000{n}@s.whatsapp.net") for n in range(CHATS)]
            running = await trio.to_thread.run_sync(daemon.start, place, config)
            for talker in talkers:
                nursery.start_soon(talker.run)
            for done in range(rounds):
                seen = len(network.confirmed)
                with trio.move_on_after(random.choice((2.0, 30.0))):  # some in mid-start, most under traffic
                    await until(lambda seen=seen: len(network.confirmed) > seen)  # type: ignore[misc]
                    await trio.sleep(random.uniform(0.0, 1.0))
                running.signal(signal.SIGKILL)
                await trio.to_thread.run_sync(running.wait)
                running = await trio.to_thread.run_sync(daemon.start, place)
                if done % 10 == 9:
                    print(f"{done + 1} kills, {len(network.confirmed)} messages confirmed", flush=True)
            for talker in talkers:
                await until(lambda talker=talker: talker.answers >= talker.said, 90)  # type: ignore[misc]
            nursery.cancel_scope.cancel()
        running.signal(signal.SIGTERM)
        await trio.to_thread.run_sync(running.wait)
        said, answers = sum(t.said for t in talkers), sum(t.answers for t in talkers)
        print(f"{rounds} kills; said {said}, confirmed {len(network.confirmed)}, not answered {len(network.waiting)}, "
              f"answers {answers}, repeated under their id {network.doubled}")  # fmt: skip
        return int(bool(network.waiting))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    logger.remove()
    sys.exit(trio.run(main, parser.parse_args().kills))
