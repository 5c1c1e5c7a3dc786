"""A save as it is kept: which documents there are, and what the texts of a save are made into. Pure."""

from __future__ import annotations

from datetime import tzinfo

import attrs

from nanobot.memory import checks
from nanobot.memory.port import MEMORY, PROMPT_FILES, REPORTED, USERS, Save, Update

WATCHED = (MEMORY, REPORTED, *PROMPT_FILES)


def fit(save: Save, zone: tzinfo | None) -> Save:
    """With an entry that is one, and words of others marked. Raises: ValueError for a save that says something impossible."""
    if save.end <= save.start or save.start < 0:
        raise ValueError(f"a save of exchanges {save.start} to {save.end}")
    entry = checks.entry(save.entry, save.at, save.reported, zone)
    update = None if save.update is None else _fitted(save, save.update, zone)
    return attrs.evolve(save, entry=entry, update=update)


def checked(document: str) -> None:
    """Raises: ValueError for what is none."""
    name = document.removeprefix(f"{USERS}/")
    of_person = name != document and "/" not in name and name.endswith(".md") and name[0] != "."
    if document not in WATCHED and not of_person:
        raise ValueError(f"{document!r} is no document of memory")


def _fitted(save: Save, update: Update, zone: tzinfo | None) -> Update:
    checked(update.document)
    if update.document != MEMORY and not save.reported:
        raise ValueError(f"whose words are to go to {update.document}?")
    if update.document == MEMORY and save.reported:
        raise ValueError(f"words of others do not go to {MEMORY}")
    text = checks.tidy(update.text)
    return attrs.evolve(update, text=checks.marked(text, save.reported, save.at, zone) if update.document == REPORTED else text)
