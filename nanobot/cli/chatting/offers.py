"""What can be written to answer what a session asks: whole lines for Tab, with what they are about. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from nanobot.security.approvals import buttons
from nanobot.session.errands import open_approvals
from nanobot.session.state import Session

LONGEST = 60
"""Characters of what it is about, beside it in the menu."""


def offers(session: Session) -> Mapping[str, str]:
    """The oldest question first."""
    found: dict[str, str] = {}
    for errand in open_approvals(session):
        about = " ".join(f"{errand.tool} {errand.text}".split())
        for button in buttons(errand.id):
            found[button.says] = about if len(about) <= LONGEST else f"{about[: LONGEST - 1]}…"
    return found
