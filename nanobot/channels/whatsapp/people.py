"""Who is who on WhatsApp, where one person has two addresses: a telephone number and a LID, an id that hides it.

Messages come under either. The first address that is seen of a person, the number where both are told at once, is theirs from
then on, so that a chat stays one chat and a right that was given stays given, whatever WhatsApp writes next. But numbers change
hands, which LIDs do not: whoever comes with another number is answered there, and whoever comes with a number that somebody
else had under another LID is somebody else. What was learned is a small file; without it (it was deleted), people whose number
WhatsApp hides would begin a new chat, and nobody else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs

from nanobot.channels.port import SendRefused
from nanobot.config.durable import replace

NUMBER, LID = "@s.whatsapp.net", "@lid"
_ADDRESS = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?@(s\.whatsapp\.net|lid|g\.us)")
"""As the bridge wants them (JID in bridge/src/frames.ts), which ends the connection of whoever writes others."""
MOST = 20_000
"""Addresses that are remembered, 100 bytes each; the oldest go."""


@attrs.define(eq=False)
class People:
    """See the module. `path`: the file."""

    _path: Path
    _ids: dict[str, str] = attrs.field(factory=dict, init=False)
    """Address -> the address that stands for the person."""
    changed: bool = attrs.field(default=False, init=False)
    """Something was learned that is not in the file."""

    @classmethod
    def load(cls, path: Path) -> People:
        """Reads a file. One that is missing or damaged counts as empty."""
        people = cls(path)
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = {}
        if isinstance(found, dict):
            people._ids = {str(address): str(person) for address, person in found.items()}
        return people

    def person(self, address: str, number: str) -> str:
        """The address that stands for whoever wrote from `address`, with this number if it is known. Learns."""
        person = self._standing_for(address, number)
        for one in (address, number):
            if one and self._ids.get(one, "" if one.endswith(LID) else one) != person:
                self._ids[one] = person
                self.changed = True
        while len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]
        return person

    def known(self, address: str) -> str:
        """The address that stands for somebody who is spoken of. Learns nothing: whoever speaks of others may say anything."""
        return self._ids.get(address, address)

    def _standing_for(self, address: str, number: str) -> str:
        known, holder = self._ids.get(address, ""), self._ids.get(number, "")
        if not number or number == address:
            return known or address
        if known.endswith(LID):
            return known
        return address if holder.endswith(LID) and not known else number

    def save(self) -> None:
        """Blocks. Raises: OSError."""
        self.changed = False
        replace(self._path, json.dumps(self._ids))


def user_of(person: str) -> str:
    """How people are named in `allowFrom` and in rights: the digits of a telephone number, or `digits@lid`."""
    return person.removesuffix(NUMBER)


def names_of(*addresses: str) -> tuple[str, ...]:
    """All that `allowFrom` may say for them: as WhatsApp writes them, numbers as digits too, with and without `+`. The digits
    of a LID alone are nobody's name, for they may be somebody else's number."""
    found: list[str] = []
    for address in filter(None, addresses):
        digits = address.removesuffix(NUMBER)
        found += [address, digits, f"+{digits}"] if address.endswith(NUMBER) else [address]
    return tuple(dict.fromkeys(found))


def address_of(chat: str) -> str:
    """Where a message to a chat goes; a bare telephone number is a person. Raises: SendRefused."""
    address = chat if "@" in chat else chat.removeprefix("+") + NUMBER
    if not _ADDRESS.fullmatch(address):
        raise SendRefused(f"{chat!r} is no chat of WhatsApp's; write a number in international form, such as 4915112345678")
    return address
