"""Pictures of a conversation, and what of them a model is sent: a provider around another.

A picture is sent as it is, or stands in the text as a line with its name and why it is not shown: the model cannot see, services
do not take such a file, it is one of the older ones, or the service has refused it before. So nobody waits for a model that has
not seen what was meant for it, and the model can say so.

The prefix rule holds (agent/context.py): whether a picture is shown is settled when it is first looked at, and older ones leave
in jumps: when there are more than the service takes, so many that half as much is left. That depends on the conversation alone.
A refused request with pictures is made once more, without those that this service has not taken before; if it is taken then,
they are not shown again, for as long as the process lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.messages import Attachment, Entry, Reply, Said
from nanobot.pictures import LARGEST, fault_of
from nanobot.providers.history import Kept, clean
from nanobot.providers.images import attachments
from nanobot.providers.port import BadRequest, Completion, OnDelta, Provider, Request
from nanobot.providers.vision_models import Caps, Sight

OLDER = "only the newest pictures are shown; read_file shows it again"
REFUSED = "the model service refused it"
GONE = "it cannot be read any more"


@attrs.define(eq=False)
class _Picture:
    """One that stands in an entry."""

    file: Attachment
    why: str
    """It is not shown; empty: it can be."""
    proven: bool = False
    """The service has taken it."""


@attrs.define(eq=False)
class _Looked:
    """What is known of an entry's pictures, for as long as the entry lives."""

    pictures: tuple[_Picture, ...]
    hidden: Mapping[Attachment, str] = attrs.field(factory=dict)
    shown: Entry | None = None
    """The entry without those that are hidden; the same object while they are the same, so that it is converted once."""


@attrs.define(eq=False)
class Seeing:
    """See the module. One for each service and model."""

    inner: Provider
    sight: Sight
    _kept: Kept[_Looked] = attrs.field(factory=Kept, init=False)

    @property
    def name(self) -> str:
        return self.inner.name

    async def complete(self, request: Request, on_delta: OnDelta) -> Completion:
        """Raises: ProviderError."""
        looked = await self._look(request.entries)
        sent, pictures = self._fitted(request, looked)
        try:
            completion = await self.inner.complete(sent, on_delta)
        except BadRequest:
            suspects = [one for one in pictures if not one.proven] or pictures
            if not suspects:
                raise
            logger.info("{} refused a request with pictures, which is made again without {} of them", self.name, len(suspects))
            for one in suspects:
                one.why = REFUSED
            try:
                return await self.inner.complete(self._fitted(request, looked)[0], on_delta)
            except BadRequest:
                for one in suspects:  # it was not because of them
                    one.why = ""
                raise
        for one in pictures:
            one.proven = True
        return completion

    async def _look(self, entries: Sequence[Entry]) -> list[_Looked | None]:
        """What is known of each entry, None of those without pictures; what is new is looked at in a thread."""
        new = [entry for entry in entries if self._kept.get(entry) is None and any(map(_is_picture, attachments(entry)))]
        if new:
            look = partial(_judged, [one for entry in new for one in attachments(entry) if _is_picture(one)], self.sight)
            faults = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
            for entry in new:
                found = tuple(_Picture(one, faults[one]) for one in attachments(entry) if _is_picture(one))
                self._kept.put(entry, _Looked(found))
        return [self._kept.get(entry) for entry in entries]

    def _fitted(self, request: Request, looked: Sequence[_Looked | None]) -> tuple[Request, list[_Picture]]:
        """The request as it is sent, and the pictures that are in it."""
        if not any(looked):
            return request, []
        groups = [[one for one in known.pictures if not one.why] if known else [] for known in looked]
        able = [one for group in groups for one in group]
        first = left_behind([[one.file.size for one in group] for group in groups], self.sight.caps)
        older = {id(one) for one in able[:first]}
        entries = []
        for entry, known in zip(request.entries, looked, strict=True):
            if known is None:
                entries.append(entry)
                continue
            hidden = {one.file: one.why or OLDER for one in known.pictures if one.why or id(one) in older}
            if known.shown is None or hidden != known.hidden:
                known.shown, known.hidden = without(entry, hidden), hidden
            entries.append(known.shown)
        return attrs.evolve(request, entries=tuple(entries)), able[first:]


def left_behind(groups: Iterable[Sequence[int]], caps: Caps) -> int:
    """How many of the oldest pictures are not shown. groups: their sizes in bytes, by entry.

    Each time that there are more than the caps allow, those of earlier entries leave until half as much is left.
    """
    sizes: list[int] = []
    first = 0
    for group in groups:
        sizes += group
        if _fits(sizes[first:], caps.pictures, caps.room):
            continue
        before = len(sizes) - len(group)
        while first < before and not _fits(sizes[first:], caps.pictures // 2, caps.room // 2):
            first += 1
        while not _fits(sizes[first:], caps.pictures, caps.room):
            first += 1
    return first


def _fits(sizes: Sequence[int], most: int, room: int) -> bool:
    return len(sizes) <= most and sum(sizes) <= room


def without(entry: Entry, hidden: Mapping[Attachment, str]) -> Entry:
    """The same with those files told by name, and why they are not shown."""
    if not hidden:
        return entry
    if isinstance(entry, Said):
        text, files = _told(entry.text, entry.attachments, hidden)
        return attrs.evolve(entry, text=text, attachments=files)
    if isinstance(entry, Reply):
        told = ((call, *_told(call.result, call.attachments, hidden)) for call in entry.calls)
        return attrs.evolve(entry, calls=tuple(attrs.evolve(call, result=text, attachments=files) for call, text, files in told))
    return entry


def _told(text: str, files: tuple[Attachment, ...], hidden: Mapping[Attachment, str]) -> tuple[str, tuple[Attachment, ...]]:
    lines = [f"[picture {_plain(one.name)} ({one.path}): not shown: {hidden[one]}]" for one in files if one in hidden]
    return "\n".join(filter(None, (text, *lines))), tuple(one for one in files if one not in hidden)


def _plain(name: str) -> str:
    """A sender's name of a file on one line."""
    shown = "".join(sign if sign.isprintable() else " " for sign in clean(name)).strip()
    return shown[:80] or "without a name"


def _is_picture(file: Attachment) -> bool:
    return file.mime.startswith("image/")


# --- in a thread


def _judged(files: Iterable[Attachment], sight: Sight) -> dict[Attachment, str]:
    """Why each is not shown, empty where it can be."""
    if not sight.sees:
        return dict.fromkeys(files, f"{sight.model} cannot see pictures")
    return {one: _fault(Path(one.path), sight.caps.room) for one in files}


def _fault(path: Path, room: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError):
        return GONE
    if (fault := fault_of(data)) or len(data) <= room:
        return fault
    return f"this service takes {room / 1e6:.2f} MB of pictures, and it has more; make a smaller copy, if there is a way"
