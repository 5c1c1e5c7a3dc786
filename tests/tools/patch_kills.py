"""A process that makes a patch and is killed before its n-th operation on files, for every n there is; then what it left is
taken back by a process that is killed, too, and by one that is not.

As a program, `python -m tests.tools.patch_kills FOLDER [STEP]`: a line of JSON for each kill. STEP: of the process that takes
back, only every so many kills, others for each n (1: all).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from nanobot.tools import patch_files
from nanobot.tools.patch_files import Change
from tests.tools.kit import make_turn

OPERATIONS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir")
OLD = {"a.txt": "old a", "b/b.txt": "old b", "gone.txt": "old gone"}
NEW = {"a.txt": "new a " * 1000, "b/b.txt": "new b", "deep/er/c.txt": "new c"}


def killed(work: Callable[[], object], before: int) -> bool:
    """Run it in a process that dies before that operation; False if it had so few that it lived."""
    if pid := os.fork():
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    count = itertools.count(1)

    def watch(event: str, _arguments: object) -> None:
        if event in OPERATIONS and next(count) == before:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    work()
    os._exit(0)


def patch(data: Path) -> None:
    turn = make_turn(data)
    changes = []
    for name in sorted({*OLD, *NEW}):
        real = turn.workspace / name
        changes.append(Change(name, real, os.stat(real) if name in OLD else None, NEW[name].encode() if name in NEW else None))
    patch_files.write_all(changes, turn, data / "patches")


def fresh(data: Path) -> None:
    shutil.rmtree(data, ignore_errors=True)
    for name, text in OLD.items():
        path = data / "workspace" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def there(data: Path) -> dict[str, str]:
    files = [path for path in (data / "workspace").rglob("*") if not path.is_dir()]
    return {str(path.relative_to(data / "workspace")): path.read_text() for path in files}


def whole(data: Path) -> bool:
    """Every file that has a name of the patch's is an old one or a new one."""
    found = {name: text for name, text in there(data).items() if name in OLD or name in NEW}
    return all(text in (OLD.get(name), NEW.get(name)) for name, text in found.items())


def outcome(data: Path) -> str:
    left = [path.name for path in (data / "patches").iterdir()] if (data / "patches").exists() else []
    folders = (data / "workspace" / "deep").exists()
    match there(data):
        case files if files == OLD and not left and not folders:
            return "old"
        case files if files == NEW and not left:
            return "new"
        case files:
            return f"broken: {sorted(files)}, {left}, deep: {folders}"


def main(folder: Path, step: int) -> None:
    data = folder / "data"
    for n in itertools.count(1):
        fresh(data)
        if not killed(lambda: patch(data), n):
            print(json.dumps({"n": n, "m": 0, "whole": True, "outcome": outcome(data), "lived": True}))
            return
        for m in itertools.count(1 + n % step, step):
            fresh(data)
            killed(lambda: patch(data), n)
            sound = whole(data)
            again = killed(lambda: patch_files.recover(data / "patches"), m)
            sound = sound and whole(data)
            patch_files.recover(data / "patches")
            print(json.dumps({"n": n, "m": m, "whole": sound, "outcome": outcome(data), "lived": False}))
            if not again:
                break


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
