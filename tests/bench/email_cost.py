"""What e-mail costs: from a mail in the mailbox until it is on disk, beside what the same server takes with imaplib alone.

    python -m tests.bench.email_cost [--mails 200]

Both are in one run and against the same server, which is in this process as well: idle, be told, search, fetch header and mail,
mark. The channel's way ends in a session of the real house, with its journal on disk; the bare one only reads.
"""

from __future__ import annotations

import argparse
import imaplib
import statistics
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
import trio.lowlevel
from loguru import logger

from nanobot.messages import Inbound
from tests.channels.email_failures import open_hall
from tests.channels.mails import mail
from tests.fakes.imap import PASSWORD, USER, Imap, imap_server

PAUSE_S = 0.02
"""Between two mails, so that each meets an idling client."""


def bare(port: int) -> None:
    """One thread, no checks: what any client must do. Ends when the server does."""
    client = imaplib.IMAP4("127.0.0.1", port)
    client.login(USER, PASSWORD)
    client.select()
    with suppress(OSError, imaplib.IMAP4.abort):
        while True:
            client.send(b"i IDLE\r\n")
            _until(client, b"* ")
            client.send(b"DONE\r\n")
            _until(client, b"i ")
            [found] = client.uid("SEARCH", "UNSEEN")[1]
            for uid in found.split():
                client.uid("FETCH", uid.decode(), "(UID RFC822.SIZE BODY.PEEK[HEADER]<0.262144>)")
                client.uid("FETCH", uid.decode(), "(UID BODY.PEEK[]<0.36000000>)")
                client.uid("STORE", uid.decode(), "+FLAGS.SILENT", r"(\Seen)")


def _until(client: imaplib.IMAP4, begins: bytes) -> None:
    """Raises: OSError where the connection has ended."""
    while not (line := client.readline()).startswith(begins):
        if not line:
            raise ConnectionError


async def main(count: int) -> None:
    async with imap_server() as imap, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, bare, imap.port)
        alone = [await _bare_mail(imap, number) for number in range(count)]
        await imap.hurt("close")
    with tempfile.TemporaryDirectory() as place:
        ours = await _house_mails(Path(place), count)
    with tempfile.TemporaryDirectory() as place:
        opened = await _house_mails(Path(place), count, thread="")
    lines = (
        ("imaplib alone, until it is marked", alone),
        ("on disk, in a thread that is there", ours),
        ("on disk, in a new thread", opened),
    )
    for name, times in lines:
        print(f"{name:34} median {statistics.median(times):6.2f} ms, p95 {sorted(times)[int(0.95 * count)]:6.2f} ms")
    print(f"{'beyond the network':34} median {statistics.median(ours) - statistics.median(alone):6.2f} ms (limit: 5)")


async def _bare_mail(imap: Imap, number: int) -> float:
    await _idling(imap)
    began, before = time.perf_counter(), imap.stored
    imap.put(mail("hello", id=f"b{number}@friends.example"))
    while imap.stored == before:  # a fact of a thread
        await trio.lowlevel.checkpoint()
    return (time.perf_counter() - began) * 1000


async def _house_mails(place: Path, count: int, thread: str = "<root@x>") -> list[float]:
    """One after the other, each when the one before was answered."""
    times: list[float] = []
    async with open_hall(place) as hall:
        deliver, began = hall.channels.deliver, 0.0

        async def timed(inbound: Inbound) -> None:
            await deliver(inbound)
            times.append((time.perf_counter() - began) * 1000)

        hall.channels.deliver = timed
        for _ in range(count):
            await _idling(hall.imap)
            began = time.perf_counter()
            id = hall.say("ann@friends.example", References=thread)
            await hall.until(partial(hall.has_answered, id))
    return times


async def _idling(imap: Imap) -> None:
    while not imap.idling:  # noqa: ASYNC110  # as above
        await trio.sleep(0.001)
    await trio.sleep(PAUSE_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mails", type=int, default=200)
    logger.remove()
    trio.run(main, parser.parse_args().mails)
