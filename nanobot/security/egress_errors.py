"""What a request to an address from outside can end in. Each sentence may be shown to a model and to people.

EgressError
├─ Forbidden           the address is one that nobody but the owner may aim at; nothing was sent there
├─ TooManyRedirects
├─ TooLarge            more bytes than the caller takes
├─ Unreachable         no such name, nobody answers, a certificate that does not hold, a proxy that refuses
├─ TimedOut            no address or no connection within our bounds; the caller's own deadlines are its scopes
└─ BadAnswer           what came is not HTTP, not whole, or packed in a way we do not read
"""

from __future__ import annotations

from nanobot.errors import NanobotError


class EgressError(NanobotError):
    """Base of the errors of egress."""


class Forbidden(EgressError):
    """The request is refused. `rule` is what the address breaks, a sentence."""

    def __init__(self, where: str, rule: str) -> None:
        self.rule = rule
        super().__init__(f"{ascii(where)[1:-1][:200]} is not fetched: {rule}")


class TooManyRedirects(EgressError):
    """It leads on and on."""


class TooLarge(EgressError):
    """`cap` is what the caller takes, in bytes after decompression."""

    def __init__(self, where: str, cap: int) -> None:
        self.cap = cap
        super().__init__(f"{where} has more than {cap:,} bytes")


class Unreachable(EgressError):
    """No connection."""


class TimedOut(EgressError):
    """No connection in time."""


class BadAnswer(EgressError):
    """A connection, and an answer that cannot be used."""
