"""Who was let in by pairing: the file `<data>/pairing.json`, as HKUDS/nanobot writes it, so that it can be taken over.

    {"approved": {"telegram": ["42"]},
     "pending": {"ABCD-EFGH": {"channel": "telegram", "sender_id": "42", "created_at": 1.0, "expires_at": 601.0}}}

Beside those it holds `owners` (principals), `answered` (codes that were approved, until they expire, so that approving twice
is approving once and can still make an owner), `account` and `chat` of a code, and `names`: what else those are called whom
`allowFrom` lets in by such a name, which lets nobody in by itself. What is not known here is kept.

* A change is made under the lock of `pairing.lock`, on top of what is on disk at that moment, and takes the file's name in
  one step: two processes lose nothing of each other, and a crash leaves the old file or the new one.
* Readers take no lock and read again when the file is another one.
* A file that is damaged lets nobody in. The next change puts it aside, says so, and begins a new one.
* Codes are typed by the owner alone, at the machine or in a chat that is the owner's already: nobody else can try any, so
  that trying is not slowed down. What strangers can do is ask, and for that there is a bound.

Everything here blocks for a moment, and may be called in any thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from nanobot.config.durable import replace
from nanobot.config.paths import made
from nanobot.errors import NanobotError
from nanobot.messages import DEFAULT_ACCOUNT, Principal
from nanobot.wire import Json, JsonObject

FILE_NAME = "pairing.json"
CODE_LIVES_S = 600.0
"""Seconds: long enough to walk over to whom it must be told."""
MOST_OPEN = 20
"""Open codes of a channel: more than a household needs in ten minutes, and a bound on what strangers can make us write."""
MOST_NAMED = 1000
"""People of a channel whose other names are kept; the oldest go."""
ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without the signs that are mistaken for each other; 8 of them are 39 bits."""
LOCK_PATIENCE_S = 2.0
"""Seconds to wait for another process to end its change, which takes milliseconds."""
_LOCK_LOOK_S = 0.01
_TABLES = ("approved", "pending", "answered", "names")


class PairingError(NanobotError):
    """Nothing was changed."""


class NoSuchCode(PairingError):
    """No open code of that name."""

    def __init__(self, code: str) -> None:
        super().__init__(
            f"There is no code {code}: it has expired or was answered. Who writes to the assistant again gets another"
        )


class NotPaired(PairingError):
    """That user was not let in by pairing."""


class PairingUnavailable(PairingError):
    """The file cannot be changed."""


@attrs.frozen
class Request:
    """Somebody who wants in."""

    code: str
    who: Principal
    expires_at: float
    """Seconds since the epoch."""


@attrs.frozen
class Book:
    """What the file says."""

    requests: tuple[Request, ...] = ()
    """Expired ones too."""
    approved: frozenset[tuple[str, str]] = frozenset()
    """Channel and user."""
    owners: frozenset[str] = frozenset()
    """Principals, as `str()` writes them."""
    names: Mapping[tuple[str, str], tuple[str, ...]] = attrs.field(factory=dict)
    """Of channel and user."""

    def waiting(self, now: float) -> tuple[Request, ...]:
        return tuple(request for request in self.requests if request.expires_at > now)


@attrs.frozen
class Approval:
    who: Principal
    owner: bool
    """Owns the assistant now."""
    owned: bool
    """Somebody owns the assistant by pairing."""


@attrs.define(eq=False)
class Pairing:
    """The store at `path`. See the module."""

    path: Path
    _say: Callable[[str], None]
    """Told, in a sentence, what is wrong with the file."""
    _read: tuple[tuple[int, ...], Book] = attrs.field(default=((), Book()), init=False)
    """What was read last, and which file it was; one value, because threads share it."""
    _said: str = attrs.field(default="", init=False)

    # --- reading

    def admits(self, channel: str, user: str) -> bool:
        return (channel, user) in self.book().approved

    def book(self) -> Book:
        """What the file says now; nothing where it cannot be read."""
        try:
            found = os.stat(self.path)
            mark = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            read = self._read
            if mark != read[0]:
                read = self._read = mark, _book(_parse(self.path.read_bytes()))
                self._said = ""
            return read[1]
        except FileNotFoundError:
            return Book()
        except (OSError, ValueError) as exc:
            self._tell(f"{self.path} cannot be read, so nobody is let in by it: {_reason(exc)}")
            return Book()

    # --- changing

    def code_for(self, who: Principal, now: float) -> Request | None:
        """The open code of somebody, else a new one; None if too many are open. Raises: PairingUnavailable."""
        known = self.book().waiting(now)
        if found := next((request for request in known if request.who == who), None):
            return found
        with self._changing(now) as raw:
            known = tuple(_requests(raw, "pending"))
            if found := next((request for request in known if request.who == who), None):
                return found  # another process was faster
            if sum(request.who.channel == who.channel for request in known) >= MOST_OPEN:
                return None
            request = Request(_new_code(), who, now + CODE_LIVES_S)
            _table(raw, "pending")[request.code] = _row(request, now)
        return request

    def approve(self, code: str, now: float, *, owner: bool = False) -> Approval:
        """Let somebody in; `owner`: and make them an owner. Once more is the same. Raises: NoSuchCode, PairingUnavailable."""
        with self._changing(now) as raw:
            request = _find(raw, code, "pending", "answered")
            pending, answered, approved = (_table(raw, name) for name in ("pending", "answered", "approved"))
            if request.code in pending:
                answered[request.code] = pending.pop(request.code)
            who = request.who
            _add(approved, who.channel, who.user)
            if owner:
                _add(raw, "owners", str(who))
            owners = _owners(raw)
        return Approval(who, str(who) in owners, bool(owners))

    def deny(self, code: str, now: float) -> Principal:
        """Forget a code; returns who asked. Raises: NoSuchCode, PairingUnavailable."""
        with self._changing(now) as raw:
            request = _find(raw, code, "pending")
            del _table(raw, "pending")[request.code]
        return request.who

    def revoke(self, channel: str, user: str, now: float) -> None:
        """Let somebody in no more, in no chat, and take their ownership. Raises: NotPaired, PairingUnavailable."""
        with self._changing(now) as raw:
            users, owners = _series(_table(raw, "approved"), channel), _series(raw, "owners")
            before = len(users) + len(owners)
            users[:] = [known for known in users if str(known) != user]
            owners[:] = [known for known in owners if not _is_of(known, channel, user)]
            if len(users) + len(owners) == before:
                raise NotPaired(f"{user} was not let in on {channel} by pairing. See: nanobot channels pair list")
            for request in list(_requests(raw, "answered")):
                if (request.who.channel, request.who.user) == (channel, user):
                    del _table(raw, "answered")[request.code]

    def note(self, channel: str, user: str, names: Sequence[str], now: float) -> None:
        """Remember what else somebody is called. Raises: PairingUnavailable."""
        with self._changing(now) as raw:
            known = _table(_table(raw, "names"), channel)
            known.pop(user, None)
            known[user] = [*names]
            while len(known) > MOST_NAMED:
                del known[next(iter(known))]

    @contextlib.contextmanager
    def _changing(self, now: float) -> Iterator[JsonObject]:
        """What the file holds, to be changed in the block. Nothing is written if it raises or changes nothing."""
        try:
            made(self.path.parent)
            with _locked(self.path.with_suffix(".lock")):
                raw = self._taken_up()
                before = json.dumps(raw)
                _prune(raw, now)
                yield raw
                if json.dumps(raw) != before:
                    replace(self.path, json.dumps(raw, indent=2) + "\n")
        except OSError as exc:
            raise PairingUnavailable(f"{self.path} cannot be changed: {_reason(exc)}. Nothing was changed") from exc

    def _taken_up(self) -> JsonObject:
        """What is on disk. A damaged file is put aside, and what a process left that was killed while it wrote goes."""
        for left in self.path.parent.glob(f".{self.path.name}.*"):
            left.unlink()
        try:
            return _parse(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as exc:
            aside = self.path.with_name(f"{self.path.name}.damaged-{secrets.token_hex(4)}")
            os.rename(self.path, aside)
            self._tell(f"{self.path} is damaged ({exc}); it was put aside as {aside.name}, and pairing begins anew")
            return {}

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)


# --- the file's content


def _parse(data: bytes) -> JsonObject:
    """Raises: ValueError for anything that is not of the form."""
    raw: Json = json.loads(data)
    if not isinstance(raw, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  # of the file's content
    for name in _TABLES:
        if not isinstance(raw.get(name), dict | None):
            raise ValueError(f"{name} is no JSON object")  # noqa: TRY004
    for name, series in (("owners", raw.get("owners")), *_table(raw, "approved").items()):
        if not isinstance(series, list | None):
            raise ValueError(f"{name} is no list")  # noqa: TRY004
    return raw


def _book(raw: JsonObject) -> Book:
    return Book(tuple(_requests(raw, "pending")), _approved(raw), _owners(raw), dict(_names(raw)))


def _approved(raw: JsonObject) -> frozenset[tuple[str, str]]:
    approved = _table(raw, "approved")
    return frozenset((channel, str(user)) for channel in list(approved) for user in _series(approved, channel))


def _names(raw: JsonObject) -> Iterator[tuple[tuple[str, str], tuple[str, ...]]]:
    """Those that can be read."""
    for channel, users in _table(raw, "names").items():
        for user, names in users.items() if isinstance(users, dict) else ():
            if isinstance(names, list):
                yield (channel, user), tuple(map(str, names))


def _owners(raw: JsonObject) -> frozenset[str]:
    return frozenset(map(str, _series(raw, "owners")))


def _requests(raw: JsonObject, table: str) -> Iterator[Request]:
    """The rows that can be read. Those of HKUDS/nanobot name no chat: a private one has its user's id on most networks."""
    for code, row in _table(raw, table).items():
        match row:
            case {"channel": str(channel), "sender_id": str() | int() as sender, "expires_at": int() | float() as until, **more}:
                account, chat = more.get("account", DEFAULT_ACCOUNT), more.get("chat", sender)
                yield Request(code, Principal(channel, str(account), str(chat), str(sender)), until)
            case _:
                pass


def _row(request: Request, now: float) -> JsonObject:
    who = request.who
    return {
        "channel": who.channel,
        "sender_id": who.user,
        "created_at": now,
        "expires_at": request.expires_at,
        "account": who.account,
        "chat": who.chat,
    }


def _find(raw: JsonObject, code: str, *tables: str) -> Request:
    """The request with that code, however it was typed. Raises: NoSuchCode."""
    wanted = _typed(code)
    for table in tables:
        for request in _requests(raw, table):
            if _typed(request.code) == wanted:
                return request
    raise NoSuchCode(code)


def _typed(code: str) -> str:
    return code.replace("-", "").strip().upper()


def _prune(raw: JsonObject, now: float) -> None:
    for table in ("pending", "answered"):
        for request in list(_requests(raw, table)):
            if request.expires_at <= now:
                del _table(raw, table)[request.code]


def _table(raw: JsonObject, name: str) -> JsonObject:
    """An object in `raw`, made if it is not there."""
    found = raw.get(name)
    if not isinstance(found, dict):
        found = raw[name] = {}
    return found


def _series(raw: JsonObject, name: str) -> list[Json]:
    found = raw.get(name)
    if not isinstance(found, list):
        found = raw[name] = []
    return found


def _add(raw: JsonObject, name: str, item: str) -> None:
    series = _series(raw, name)
    if item not in map(str, series):
        series.append(item)


def _is_of(owner: Json, channel: str, user: str) -> bool:
    try:
        who = Principal.parse(str(owner))
    except ValueError:
        return False
    return (who.channel, who.user) == (channel, user)


def _new_code() -> str:
    drawn = "".join(secrets.choice(ALPHABET) for _ in range(8))
    return f"{drawn[:4]}-{drawn[4:]}"


# --- files


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Raises: PairingUnavailable if another process keeps it for `LOCK_PATIENCE_S`; OSError."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until = time.monotonic() + LOCK_PATIENCE_S
        while not _taken(lock):
            if time.monotonic() > until:
                raise PairingUnavailable(f"{path} is held by another process. Nothing was changed; try again")
            time.sleep(_LOCK_LOOK_S)
        yield
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _reason(exc: OSError | ValueError) -> str:
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
