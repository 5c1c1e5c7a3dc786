"""What egress costs beside the bare httpx2 client making the same fetch from the same server in the same run.

    python -m tests.bench.egress_cost [--fetches N]

The server is a process of its own, so that only the client's work is counted (processor time of this process). `kept`: the
connection is there already; `new`: each fetch looks up a name (egress its way, httpx2 the system's), connects and closes. The
pages are gzipped. The goal is at most 2 ms of processor time more for a fetch.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import httpx2
import trio

from nanobot.config.schema import ToolsConfig
from nanobot.security.egress import Egress, open_egress
from tests.fakes.loopback import HttpRequest, Responder, loopback

GOAL_MS = 2.0
SIZES = {"small": 2_000, "page": 200_000}
Step = Callable[[], Awaitable[None]]


async def serve() -> None:
    pages = {name: gzip.compress((b"The quick brown fox %d. " * (size // 22))[:size]) for name, size in SIZES.items()}

    async def handler(request: HttpRequest, responder: Responder) -> None:
        extra = [("content-encoding", "gzip"), ("connection", "close" if "new" in request.path else "keep-alive")]
        await responder.reply(200, pages[request.path.split("/")[1]], extra, "text/html")

    async with loopback(handler) as server:
        print(server.port, flush=True)
        await trio.sleep_forever()


@contextmanager
def server() -> Iterator[str]:
    """The address of a server in its own process."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.egress_cost", "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://localhost:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.communicate()


async def measure(steps: dict[str, Step], fetches: int) -> dict[str, float]:
    """Mean processor time in milliseconds, of rounds in which the steps take turns; the median of the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(12):
        for name, step in steps.items():
            busy = time.process_time()
            for _ in range(fetches):
                await step()
            if round_number >= 2:  # the first rounds warm up
                taken[name].append((time.process_time() - busy) * 1e3 / fetches)
    return {name: statistics.median(spent) for name, spent in taken.items()}


def ours(egress: Egress, url: str) -> Step:
    async def step() -> None:
        page, body = await egress.fetch(url, cap=10_000_000)
        assert page.status == 200
        assert body

    return step


def bare(client: httpx2.AsyncClient, url: str) -> Step:
    async def step() -> None:
        response = await client.get(url)
        assert response.status_code == 200
        assert response.content

    return step


async def main(fetches: int) -> None:
    allowed = ToolsConfig(ssrf_whitelist=("127.0.0.0/8", "::1"))
    with server() as address:
        async with httpx2.AsyncClient(timeout=None, trust_env=False) as client, open_egress(allowed) as egress:
            for size in SIZES:
                for way in ("kept", "new"):
                    url = f"{address}/{size}/{way}"
                    spent = await measure({"bare": bare(client, url), "egress": ours(egress, url)}, fetches)
                    added = spent["egress"] - spent["bare"]
                    print(
                        f"{size:5} {way:4}: bare httpx2 {spent['bare']:.2f} ms, egress {spent['egress']:.2f} ms of processor "
                        f"time; {added:+.2f} ms ({'within' if added <= GOAL_MS else 'OVER'} the goal of {GOAL_MS:g} ms)"
                    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Cost of egress beside bare httpx2.")
    parser.add_argument("--fetches", type=int, default=30)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        trio.run(serve)
    else:
        trio.run(main, arguments.fetches)
