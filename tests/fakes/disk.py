"""A disk in memory that can be unplugged, and fails as Linux does.

`MemoryDisk` has a page cache, which all calls see, and behind it what is really on disk. Only an fsync moves the one to the
other, file by file and folder by folder. `images()` gives every disk that a power cut could leave at this moment: what was
not synced is there, absent, torn at several places, NULs, or there without what was written before it.

A failed fsync does what the kernel does: the cache still shows the data, the pages are marked clean, and no later fsync
writes them, not even if the same bytes are written in place again; on disk they are NULs. Truncating lets them go.

`calls` records every operation. `before` and `after` run around each one: they may raise, look, or count.
`without` names the sites whose fsync is taken out, to show that a test notices.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

Extent = tuple[int, int]


@attrs.frozen
class Call:
    """One operation: `what` is the method, `on` the path it was opened or named by, `site` that of an fsync."""

    what: str
    on: str
    site: str = ""
    node: int = -1
    """Which file or folder it was, whatever it is called by now."""


@attrs.frozen
class Write:
    offset: int
    data: bytes

    def on(self, content: bytes) -> bytes:
        padded = content.ljust(self.offset, b"\0")
        return padded[: self.offset] + self.data + padded[self.offset + len(self.data) :]


@attrs.frozen
class Truncate:
    size: int

    def on(self, content: bytes) -> bytes:
        return content[: self.size].ljust(self.size, b"\0")


@attrs.frozen
class Entry:
    """A change of a folder: names that go, and names that now mean a file. Atomic."""

    gone: tuple[str, ...] = ()
    new: tuple[tuple[str, int], ...] = ()

    def on(self, entries: Mapping[str, int]) -> dict[str, int]:
        return {name: node for name, node in entries.items() if name not in self.gone} | dict(self.new)


@attrs.define
class File:
    cache: bytes = b""
    durable: bytes = b""
    pending: list[Write | Truncate] = attrs.Factory(list)
    lost: list[Extent] = attrs.Factory(list)
    """Bytes whose pages a failed fsync marked clean."""

    def change(self, change: Write | Truncate) -> None:
        self.cache = change.on(self.cache)
        self.pending.append(change)
        if isinstance(change, Truncate):
            self.lost = [(start, min(end, change.size)) for start, end in self.lost if start < change.size]

    def sync(self) -> None:
        self.durable = self.whole()
        self.pending.clear()

    def fail_sync(self) -> None:
        self.lost += [(each.offset, each.offset + len(each.data)) for each in self.pending if isinstance(each, Write)]
        self.pending.clear()

    def states(self) -> list[bytes]:
        """What may be on disk, least first."""
        found = [self._with(self.pending[:count]) for count in range(len(self.pending) + 1)]
        found += [self._with(self.pending[count:]) for count in range(1, len(self.pending))]
        if self.pending and isinstance(last := self.pending[-1], Write):
            before = self._with(self.pending[:-1])
            found += [Write(last.offset, torn).on(before) for torn in _torn(last.data)]
        return list(dict.fromkeys(self._on_disk(content) for content in found))

    def whole(self) -> bytes:
        return self._on_disk(self.cache)

    def _with(self, changes: Sequence[Write | Truncate]) -> bytes:
        content = self.durable
        for change in changes:
            content = change.on(content)
        return content

    def _on_disk(self, content: bytes) -> bytes:
        for start, end in self.lost:
            stop = min(end, len(content))
            content = content[:start] + bytes(max(0, stop - start)) + content[stop:] if start < stop else content
        return content


@attrs.define
class Folder:
    cache: dict[str, int] = attrs.Factory(dict)
    durable: dict[str, int] = attrs.Factory(dict)
    pending: list[Entry] = attrs.Factory(list)

    def change(self, change: Entry) -> None:
        self.cache = change.on(self.cache)
        self.pending.append(change)

    def sync(self) -> None:
        self.durable = self._with(self.pending)
        self.pending.clear()

    def fail_sync(self) -> None:
        """The names stay in the cache, and no later fsync brings them to disk."""
        self.pending.clear()

    def states(self) -> list[dict[str, int]]:
        count = len(self.pending)
        some = [self.pending[:end] for end in range(count + 1)] + [self.pending[start:] for start in range(1, count)]
        return [*(self._with(changes) for changes in some), dict(self.cache)]

    def whole(self) -> dict[str, int]:
        return dict(self.cache)

    def _with(self, changes: Sequence[Entry]) -> dict[str, int]:
        entries = dict(self.durable)
        for change in changes:
            entries = change.on(entries)
        return entries


def _torn(data: bytes) -> Iterator[bytes]:
    """Ways a write may be half done: its beginning, its end (blocks go to disk in any order), its length without its bytes."""
    size = len(data)
    for cut in sorted({1, size // 2, size - 1} - {0, size}):
        yield data[:cut]
        yield data[:cut] + bytes(size - cut)
        yield bytes(cut) + data[cut:]
    yield bytes(size)


class Killed(BaseException):
    """The process ends here: kill -9. The page cache stays."""


@attrs.define(eq=False)
class MemoryDisk:
    """Implements `nanobot.journal.disk.Disk`."""

    nodes: dict[int, File | Folder] = attrs.Factory(lambda: {0: Folder()})
    without: frozenset[str] = frozenset()
    before: Callable[[Call], None] = lambda _call: None
    after: Callable[[Call], None] = lambda _call: None
    fail: Callable[[Call], int | None] = lambda _call: None
    """An errno for a call that shall fail. A failing write takes half of its bytes first, as a full disk does."""
    short: Callable[[Call], bool] = lambda _call: False
    """Whether a write takes half of its bytes and says so."""
    free: int = 2**40
    calls: list[Call] = attrs.Factory(list)
    _open: dict[int, tuple[int, str]] = attrs.Factory(dict)
    _locks: dict[int, int] = attrs.Factory(dict)
    _ids: Iterator[int] = attrs.Factory(lambda: itertools.count(1))

    # -- the port

    def names(self, folder: str) -> list[str]:
        return list(self._folder(folder).cache)

    def exists(self, path: str) -> bool:
        try:
            self._find(path)
        except OSError:
            return False
        return True

    def make_folder(self, path: str) -> None:
        with self._call("make_folder", path):
            if self.exists(path):
                raise FileExistsError(errno.EEXIST, "exists", path)
            self._put(path, Folder())

    def remove_folder(self, path: str) -> None:
        with self._call("remove_folder", path):
            if self._folder(path).cache:
                raise OSError(errno.ENOTEMPTY, "not empty", path)
            self._parent(path).change(Entry(gone=(_name(path),)))

    def open_folder(self, path: str) -> int:
        self._folder(path)
        return self._opened(path)

    def open_file(self, path: str) -> int:
        if isinstance(self.nodes[self._find(path)], Folder):
            raise IsADirectoryError(errno.EISDIR, "is a folder", path)
        return self._opened(path)

    def create_file(self, path: str) -> int:
        with self._call("create_file", path):
            if self.exists(path):
                self._file(self._find(path)).change(Truncate(0))
            else:
                self._put(path, File())
        return self._opened(path)

    def close(self, fd: int) -> None:
        del self._open[fd]
        self._locks = {node: holder for node, holder in self._locks.items() if holder != fd}

    def size(self, fd: int) -> int:
        return len(self._file(self._open[fd][0]).cache)

    def read(self, fd: int, offset: int, count: int) -> bytes:
        node, path = self._open[fd]
        with self._call("read", path, node=node):
            return self._file(node).cache[offset : offset + count]

    def write(self, fd: int, data: bytes, offset: int) -> int:
        node, path = self._open[fd]
        call = Call("write", path, node=node)
        file = self._file(node)
        half = data[: len(data) // 2]
        try:
            with self._call("write", path, node=node):
                taken = half if self.short(call) else data
                file.change(Write(offset, taken))
                return len(taken)
        except OSError:
            file.change(Write(offset, half))
            raise

    def truncate(self, fd: int, size: int) -> None:
        node, path = self._open[fd]
        with self._call("truncate", path, node=node):
            self._file(node).change(Truncate(size))

    def fsync(self, fd: int, site: str) -> None:
        node, path = self._open[fd]
        try:
            with self._call("fsync", path, site, node):
                if site not in self.without:
                    self.nodes[node].sync()
        except OSError:
            self.nodes[node].fail_sync()
            raise

    def rename(self, old: str, new: str) -> None:
        with self._call("rename", new):
            assert _parent(old) == _parent(new), "a journal never moves a file to another folder"
            self._parent(new).change(Entry(gone=(_name(old),), new=((_name(new), self._find(old)),)))

    def unlink(self, path: str) -> None:
        with self._call("unlink", path):
            self._find(path)
            self._parent(path).change(Entry(gone=(_name(path),)))

    def lock(self, folder_fd: int) -> bool:
        node = self._open[folder_fd][0]
        return self._locks.setdefault(node, folder_fd) == folder_fd

    def holder(self, folder_fd: int) -> int | None:
        return 1 if self._open[folder_fd][0] in self._locks else None

    def free_bytes(self, path: str) -> int:
        return self.free

    # -- what can happen to it

    def kill(self) -> None:
        """The process that used it ends: files and locks are let go, the page cache stays."""
        self._open.clear()
        self._locks.clear()

    def images(self) -> Iterator[MemoryDisk]:
        """Every disk that a power cut could leave now. Of several unsynced things each one is varied by itself, once with
        all the others on disk and once with none of them."""
        states = {number: node.states() for number, node in self.nodes.items()}
        least = {number: found[0] for number, found in states.items()}
        most = {number: node.whole() for number, node in self.nodes.items()}
        yield self._image(least)
        yield self._image(most)
        for number, found in states.items():
            for state in found[1:] if len(found) > 1 else ():
                yield self._image({**least, number: state})
                yield self._image({**most, number: state})
            if len(found) > 1:
                yield self._image({**most, number: found[0]})

    def reach(self, path: str) -> bytes:
        """What the page cache shows of a file."""
        return self._file(self._find(path)).cache

    def plant(self, path: str, content: bytes) -> None:
        """Puts a file there, durable."""
        fd = self.create_file(path)
        self.write(fd, content, 0)
        self.fsync(fd, "")
        self.close(fd)
        self._parent(path).sync()

    def _image(self, states: Mapping[int, bytes | dict[str, int]]) -> MemoryDisk:
        nodes: dict[int, File | Folder] = {
            number: File(state, state) if isinstance(state, bytes) else Folder(dict(state), dict(state))
            for number, state in states.items()
        }
        return MemoryDisk(nodes, ids=itertools.count(max(nodes) + 1))

    # -- inside

    @contextlib.contextmanager
    def _call(self, what: str, path: str, site: str = "", node: int = -1) -> Iterator[None]:
        call = Call(what, path, site, node)
        self.before(call)
        self.calls.append(call)
        if (code := self.fail(call)) is not None:
            raise OSError(code, os.strerror(code), path)
        yield
        self.after(call)

    def _find(self, path: str) -> int:
        number = 0
        for name in path.strip("/").split("/") if path != "/" else ():
            node = self.nodes[number]
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)
            if name not in node.cache:
                raise FileNotFoundError(errno.ENOENT, "not there", path)
            number = node.cache[name]
        return number

    def _folder(self, path: str) -> Folder:
        node = self.nodes[self._find(path)]
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)
        return node

    def _file(self, number: int) -> File:
        node = self.nodes[number]
        assert isinstance(node, File)
        return node

    def _parent(self, path: str) -> Folder:
        return self._folder(_parent(path))

    def _put(self, path: str, node: File | Folder) -> None:
        number = next(self._ids)
        self.nodes[number] = node
        self._parent(path).change(Entry(new=((_name(path), number),)))

    def _opened(self, path: str) -> int:
        fd = next(self._ids)
        self._open[fd] = (self._find(path), path)
        return fd


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _name(path: str) -> str:
    return path.rpartition("/")[2]
