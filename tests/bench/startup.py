"""How long commands take to start, whole processes with their byte code cached, beside bare scripts in the same run.

    python -m tests.bench.startup [--runs N]

Medians of wall time; the parts take turns. Memory is the largest resident set. The one-shot chat and the bare script make the
same call to a scripted model service in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.bench.turn_cost import service

PROMPT = "you>"
BARE = """\
import trio
from openai import AsyncOpenAI
async def main():
    async with AsyncOpenAI(api_key="k", base_url={base!r}, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{{"role": "user", "content": "hello"}}], stream=True)
        async with stream:
            print("".join([c.choices[0].delta.content or "" async for c in stream if c.choices]))
trio.run(main)
"""


def seconds(command: list[str], environ: Mapping[str, str]) -> float:
    """Wall time of a whole process."""
    begun = time.perf_counter()
    subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return time.perf_counter() - begun


def to_prompt(command: list[str], environ: Mapping[str, str]) -> float:
    """Wall time until a terminal shows the prompt."""
    begun = time.perf_counter()
    pid, fd = os.forkpty()
    if pid == 0:
        os.execve(command[0], command, dict(environ))
    shown = b""
    while PROMPT.encode() not in shown and time.perf_counter() - begun < 20:
        if select.select([fd], [], [], 1)[0]:
            shown += os.read(fd, 4096)
    taken = time.perf_counter() - begun
    os.write(fd, b"\x04\x04")
    os.close(fd)
    os.kill(pid, 15)
    os.waitpid(pid, 0)
    return taken


def mebibytes(command: list[str], environ: Mapping[str, str]) -> float:
    """Largest resident set of a process, measured by a parent that has no other child."""
    code = f"import resource, subprocess; subprocess.run({command!r}, capture_output=True)\n"
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with service(home) as address:
            measure(home, address, runs)


def measure(home: Path, address: str, runs: int) -> None:
    nanobot = [sys.executable, "-m", "nanobot"]
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONPATH": str(Path.cwd())}
    config = home / ".nanobot" / "config.json"
    config.parent.mkdir(mode=0o700)
    providers = {"openai": {"apiKey": "k", "apiBase": f"{address}/v1"}}
    defaults = {"provider": "openai", "model": "m"}
    config.write_text(json.dumps({"configVersion": 1, "providers": providers, "agents": {"defaults": defaults}}))
    bare = home / "bare.py"
    bare.write_text(BARE.format(base=f"{address}/v1"))
    parts: dict[str, Callable[[], float]] = {
        "python -c pass": partial(seconds, [sys.executable, "-c", "pass"], environ),
        "nanobot --help": partial(seconds, [*nanobot, "--help"], environ),
        "nanobot --version": partial(seconds, [*nanobot, "--version"], environ),
        "nanobot status": partial(seconds, [*nanobot, "status"], environ),
        "nanobot chat, to its prompt": partial(to_prompt, [*nanobot, "chat"], environ),
        "bare SDK script": partial(seconds, [sys.executable, str(bare)], environ),
        "nanobot chat -m": partial(seconds, [*nanobot, "chat", "-m", "hello", "-s", "cli:one"], environ),
    }
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(runs + 1):
        for name, part in parts.items():
            spent = part()
            if number:  # the first writes byte code
                taken[name].append(spent)
    middle = {name: statistics.median(spent) for name, spent in taken.items()}
    for name, all_spent in taken.items():
        print(f"{name:28} {middle[name]:6.3f} s  ({min(all_spent):.3f} to {max(all_spent):.3f})")
    print(f"one-shot chat is {middle['nanobot chat -m'] / middle['bare SDK script']:.2f} of the bare SDK script (goal: 1.15)")
    for name in ("--help", "--version"):
        print(f"nanobot {name}: {mebibytes([*nanobot, name], environ):.1f} MiB (goal: 15)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    main(parser.parse_args().runs)
