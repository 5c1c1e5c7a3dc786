"""What a search costs: reading conversations into the index, and asking it when it holds a hundred thousand exchanges.

Times are those of the processor, so that what else runs on the machine does not count.

    python -m tests.bench.search_cost [--passages 100000] [--exchanges 3000]

Conversations are read from journals, with all that is checked and decoded there. To fill the large index those of a bare list are
put into its tables, which is the second figure, and the part of the first that is the database's.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from nanobot.database import Database
from nanobot.journal import segment
from nanobot.journal.segment import Header, Line
from nanobot.memory import tables
from nanobot.memory.index import Index, Query, Scope
from nanobot.memory.passages import Passage, of_exchange
from nanobot.memory.sources import Sources
from nanobot.messages import Entry, Exchange, MessageId, Reply, Said, TurnEnd, TurnNumber
from nanobot.session import records as r
from nanobot.session.codec import encode, encode_session
from nanobot.session.state import Session
from nanobot.wire import Json
from tests.fakes.pages import AT, result

CHINESE = "我们明天去北京旅行然后回家吃饭看书写信给朋友打电话问他最近怎么样工作忙不忙身体好不好"
A_SEGMENT = 200
"""Exchanges: of this size the journal is cut."""
QUERIES = ("w5 w77", "w1 w2", "w1", '"w3 w4"', "w900 -w1", "北京", "北京 回家", "w99*", "rare", "nothing")
ROUNDS = 3


def exchange(chance: random.Random, number: int) -> Exchange:
    """A question of 15 words, an answer of 45, sometimes a tool's result of 60: words as often as in a language."""
    said = Said(MessageId(f"m{number}"), text(chance, 15), AT + number, "telegram:default:7:bob")
    calls = (result("exec", text(chance, 60)),) if chance.random() < 0.3 else ()
    called = [Reply("", calls)] if calls else []
    entries: tuple[Entry, ...] = (said, *called, Reply(text(chance, 45)))
    return Exchange(TurnNumber(number + 1), said.principal, entries, TurnEnd.ANSWERED)


def text(chance: random.Random, count: int) -> str:
    if chance.random() < 0.2:
        start = chance.randrange(len(CHINESE) - 8)
        return "，".join(CHINESE[start : start + chance.randrange(3, 8)] for _ in range(count // 4))
    return " ".join(f"w{int(chance.paretovariate(0.6)) % 30000}" for _ in range(count))


def lines(exchanges: list[Exchange]) -> Iterator[list[Json]]:
    for one in exchanges:
        said = next(entry for entry in one.entries if isinstance(entry, Said))
        answers = [r.Answered(one.turn, entry) for entry in one.entries if isinstance(entry, Reply)]
        begun = r.TurnStarted(one.turn, one.principal, (said.id,), said.at)
        yield encode([r.Accepted(said), begun, *answers, r.TurnEnded(one.turn, one.end, said.at)])


def write_journal(folder: Path, key: str, exchanges: list[Exchange]) -> None:
    """Segments as a session leaves them that goes to memory at each cut."""
    folder.mkdir(parents=True)
    n = 1
    for number, start in enumerate(range(0, len(exchanges), A_SEGMENT), 1):
        part = exchanges[start : start + A_SEGMENT]
        kept = tuple(exchanges[max(0, start - A_SEGMENT // 2) : start])
        session = Session(key, exchanges=kept, base=start - len(kept), next_turn=part[0].turn)
        items: list[Header | Line] = [Header(key, encode_session(session), n, AT)]
        items += [Line(n + place, AT, None, records) for place, records in enumerate(lines(part), 1)]
        n += len(items)
        (folder / f"{number:08}.jsonl").write_bytes(b"".join(map(segment.encode, items)))


def timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def reading(place: Path, exchanges: list[Exchange]) -> None:
    quarter = len(exchanges) // 4
    for chat in range(4):
        part = [attrs.evolve(e, turn=TurnNumber(n)) for n, e in enumerate(exchanges[chat * quarter : (chat + 1) * quarter], 1)]
        write_journal(place / "journals" / f"telegram+default+{chat}", f"telegram:default:{chat}", part)
    index = Index(place / "search.db", Sources(place / "journals", place))
    seconds = timed(lambda: index.refresh(600))
    size = (place / "search.db").stat().st_size
    bytes_read = sum(file.stat().st_size for file in place.glob("journals/*/*"))
    print(f"reading journals: {len(exchanges) / seconds:,.0f} exchanges/s, {bytes_read / seconds / 1e6:.1f} MB/s")
    print(f"size of the index: {size / len(exchanges):,.0f} bytes an exchange ({size / bytes_read:.2f} of the journals)")
    with (place / "journals" / "telegram+default+0" / f"{(quarter - 1) // A_SEGMENT + 1:08}.jsonl").open("ab") as live:
        live.write(b"{")  # a line that is being written
    print(f"a search where one conversation has grown: {1000 * timed(lambda: index.search(Query('w5 w77'))):.1f} ms")
    print(f"a search where nothing has: {1000 * timed(lambda: index.search(Query('w5 w77'))):.1f} ms")


def asking(place: Path, exchanges: list[Exchange], count: int) -> None:
    found = [passage for one in exchanges if (passage := of_exchange(one)) is not None]
    chance = random.Random(2)
    index = Index(place / "search.db", Sources(place / "journals", place))
    index.refresh()

    def fill() -> None:
        database = Database(index.path, tables.SCHEMA)
        with database.transaction() as connection:
            source = tables.state(connection, "memory/HISTORY.md").id
            connection.execute("UPDATE sources SET key = 'telegram:default:7' WHERE id = ?", (source,))
            new = {n: ("telegram:default:7", mixed(found, chance, n, count)) for n in range(count)}
            tables.put(connection, source, new, {})
        database.close()

    seconds = timed(fill)
    print(f"\n{count:,} exchanges: {count / seconds:,.0f} put into the tables a second, {index.path.stat().st_size / 1e6:.0f} MB")
    for query in QUERIES:
        best, hits = measured(index, Query(query))
        print(f"  {query:<12} {hits:>3} hits  {best:>7.1f} ms")
    for name, more in {
        "w1 of a day": Query("w1", after=AT + 5e4, before=AT + 6e4),
        "the newest": Query(),
        "one chat": Query("w1", chat="telegram:default:7"),
    }.items():
        best, hits = measured(index, more)
        print(f"  {name:<12} {hits:>3} hits  {best:>7.1f} ms")


def mixed(found: list[Passage], chance: random.Random, number: int, count: int) -> Passage:
    passage = attrs.evolve(chance.choice(found), at=AT + number)
    if number % (count // 5 + 1) == 7:
        role, old = next(iter(passage.texts.items()))
        return attrs.evolve(passage, texts={**passage.texts, role: f"{old} rare"})
    return passage


def measured(index: Index, query: Query) -> tuple[float, int]:
    """Milliseconds, the median, and how many were found."""
    hits = len(index.search(query, Scope()).hits)
    times = sorted(timed(lambda: index.search(query)) for _ in range(ROUNDS))
    return 1000 * times[ROUNDS // 2], hits


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--exchanges", type=int, default=3000)
    options = parser.parse_args()
    chance = random.Random(1)
    exchanges = [exchange(chance, number) for number in range(options.exchanges)]
    with tempfile.TemporaryDirectory() as name:
        reading(Path(name), exchanges)
    with tempfile.TemporaryDirectory() as name:
        asking(Path(name), exchanges, options.passages)


if __name__ == "__main__":
    main()
