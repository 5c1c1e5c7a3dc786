"""What HKUDS/nanobot left of a conversation becomes the beginning of ours; its file stays as it is."""

from __future__ import annotations

from pathlib import Path

from loguru import logger

from nanobot.archive import legacy
from nanobot.errors import JournalError
from nanobot.messages import SessionKey, TurnNumber
from nanobot.session.state import Session


def taken_over(key: SessionKey, *, workspace: Path, data: Path) -> Session | None:
    """The session as it was there, None if it was not. Raises: JournalError."""
    source = legacy.find(key, workspace=workspace, data=data)
    if source is None:
        return None
    try:
        imported = legacy.load(source, key)
    except OSError as exc:
        raise JournalError(f"the earlier conversation in {source} cannot be read: {exc.strerror}") from exc
    logger.info(
        "imported {} exchanges of {} from {}, {} lines skipped", len(imported.exchanges), key, source, imported.skipped_lines
    )
    return Session(
        str(key),
        exchanges=imported.exchanges[imported.cursor :],
        base=imported.cursor,
        next_turn=TurnNumber(len(imported.exchanges) + 1),
    )
