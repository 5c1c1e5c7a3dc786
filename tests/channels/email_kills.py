"""SIGKILL of the gateway while mail comes in: what it has marked as read is answered after all, and no mail joins twice.

    python -m tests.channels.email_kills [--kills 100]

The gateway is a real process with the built-in demo; mailbox and way out are tests/fakes/imap.py and smtp.py, in this one.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from email import message_from_bytes
from functools import partial
from pathlib import Path

import trio

from nanobot.wire import JsonObject
from tests.channels.mails import BOT, SERVER, mail
from tests.fakes.daemon import Daemon, start
from tests.fakes.imap import PASSWORD, Imap, imap_server
from tests.fakes.smtp import Smtp, smtp_server

EVERY_S = 0.25
PATIENCE_S = 120.0
LIVES_S = (0.05, 1.0)
"""From being connected until it is killed."""


def config(folder: Path, imap: Imap, smtp: Smtp) -> JsonObject:
    return {
        "agents": {"defaults": {"model": "demo", "workspace": str(folder / "workspace")}},
        "channels": {
            "email": {
                "enabled": True,
                "consentGranted": True,
                "imapHost": "127.0.0.1",
                "imapPort": imap.port,
                "imapUsername": BOT,
                "imapPassword": PASSWORD,
                "imapUseSsl": False,
                "smtpHost": "127.0.0.1",
                "smtpPort": smtp.port,
                "smtpUsername": BOT,
                "smtpPassword": PASSWORD,
                "smtpUseTls": False,
                "authservId": SERVER,
                "allowFrom": ["*"],
                "mailsPerHour": 100_000,
            }
        },
    }


async def write(imap: Imap, said: list[str]) -> None:
    while True:
        said.append(f"k{len(said)}@friends.example")
        imap.put(mail(f"hello {said[-1]}", id=said[-1], sender=f"p{len(said) % 5}@friends.example"))
        await trio.sleep(EVERY_S)


async def kill(daemon: Daemon, imap: Imap) -> None:
    logins = imap.logins
    with trio.fail_after(PATIENCE_S):
        while imap.logins == logins:  # noqa: ASYNC110  # a fact of another process
            await trio.sleep(0.01)
    await trio.sleep(random.uniform(*LIVES_S))
    daemon.signal(signal.SIGKILL)
    await trio.to_thread.run_sync(daemon.wait)


def answers(smtp: Smtp) -> dict[str, list[str]]:
    """Message-IDs of the answers to each mail."""
    found: dict[str, list[str]] = {}
    for taken in smtp.taken:
        header = message_from_bytes(taken.raw)
        found.setdefault((header["In-Reply-To"] or "").strip("<> "), []).append(header["Message-ID"])
    return found


async def main(kills: int) -> int:
    with tempfile.TemporaryDirectory() as place:
        folder, said = Path(place), list[str]()
        async with imap_server() as imap, smtp_server() as smtp:
            again = partial(trio.to_thread.run_sync, start, folder, config(folder, imap, smtp))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write, imap, said)
                for _ in range(kills):
                    await kill(await again(), imap)
                nursery.cancel_scope.cancel()
            open_ = len(said) - len(answers(smtp))
            daemon = await again()
            try:
                with trio.move_on_after(PATIENCE_S):
                    while imap.unseen or len(answers(smtp)) < len(said):  # noqa: ASYNC110  # facts of another process
                        await trio.sleep(0.05)
            finally:
                daemon.signal(signal.SIGKILL)
                daemon.wait()
            return told(kills, said, imap, answers(smtp), open_)


def told(kills: int, said: list[str], imap: Imap, found: dict[str, list[str]], open_: int) -> int:
    """The figures, and whether they are bad."""
    lost = [id for id in said if id not in found]
    joined = sum(len(set(ids)) > 1 for ids in found.values())
    sent = sum(len(ids) - len(set(ids)) for ids in found.values())
    print(f"{kills} kills, {len(said)} mails, {imap.stored} marked as read; {open_} were not answered yet at the last kill")
    print(f"lost {len(lost)}, joined twice {joined}, the same answer sent again {sent} (at most one for each kill)")
    return int(bool(lost or joined) or sent > kills)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    sys.exit(trio.run(main, parser.parse_args().kills))
