"""A process that saves for a chat: `python -m tests.memory.together FOLDER CHAT TIMES`. Says `ready`, and begins at a line."""

from __future__ import annotations

import sys
from pathlib import Path

from nanobot.memory.port import MEMORY, Outdated, Save, Saved, Update
from nanobot.memory.store import MemoryStore
from tests.memory.kit import AT, Place


def save_all(store: MemoryStore, chat: str, times: int) -> int:
    """Each with a fact of its own in a version that others may have left behind; how many had to be made anew."""
    anew = 0
    for number in range(times):
        taken = None
        while not isinstance(taken, Saved):
            now = store.current()
            update = Update(MEMORY, now.number, f"{now.text}- {chat} says {number}\n")
            taken = store.save(Save(chat, number, number + 1, f"{chat} said {number}", AT, update))
            assert isinstance(taken, Saved | Outdated), taken
            anew += isinstance(taken, Outdated)
    return anew


if __name__ == "__main__":
    folder, chat, times = sys.argv[1:]
    place = Place(Path(folder))
    print("ready", flush=True)
    sys.stdin.readline()
    save_all(place.store(), chat, int(times))
