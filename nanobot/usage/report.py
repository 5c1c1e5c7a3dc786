"""What `nanobot usage` and `/usage` tell: sums by chat, job, model, principal and day, as values, as text and as JSON.

`report` reads the ledger and blocks; all else is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from nanobot.config.schema import UsageConfig
from nanobot.messages import Principal, SessionKey, Usage
from nanobot.usage.caps import Standing, limit, standings
from nanobot.usage.days import Calendar, Period
from nanobot.usage.ledger import Ledger, Sum
from nanobot.usage.prices import cost, price_of
from nanobot.usage.spent import Kind
from nanobot.wire import JsonObject

MOST_ROWS = 15
"""Of one table, the largest first; what is behind them is one row."""
NOBODY = "nobody"
SERVICE_KINDS = {Kind.SUBAGENT: "subagents", Kind.MEMORY: "memory", Kind.HEARTBEAT: "heartbeat"}


@attrs.frozen
class Row:
    """What several calls come to."""

    name: str
    calls: int = 0
    usage: Usage = Usage()
    money: float = 0.0
    unpriced: frozenset[str] = frozenset()
    """Models without a price: what they cost is not in `money`."""

    @property
    def tokens(self) -> int:
        return self.usage.input + self.usage.output


@attrs.frozen
class Report:
    """Tables are of `span`: the present month, or the last days."""

    calendar: Calendar
    config: UsageConfig
    span: str
    totals: tuple[Row, ...]
    """Of today, and of the span."""
    tables: tuple[tuple[str, tuple[Row, ...]], ...]
    """By `chat`, `job`, `model`, `principal`, `kind` and `day`."""
    caps: tuple[Standing, ...] = ()


KEYS: tuple[tuple[str, Callable[[Sum], str]], ...] = (
    ("chat", lambda one: _short(one.session)),
    ("job", lambda one: one.job),
    ("model", lambda one: one.model or "unknown"),
    ("principal", lambda one: _person(one.principal)),
    ("kind", lambda one: SERVICE_KINDS.get(one.kind, "turns")),
)


def report(
    ledger: Ledger, config: UsageConfig, calendar: Calendar, now: float, *, days: int = 0, session: str | None = None
) -> Report:
    """Of the present month, or of the last `days`; of one session, or of all with the caps. Raises: StoreUnusable."""
    today, month = calendar.period("day", now), calendar.period("month", now)
    span = calendar.last_days(now, days) if days else _days_of(calendar, month, today)
    by_day = {period.name: _of(ledger.sums(period.begin, period.end), session) for period in span}
    sums = [one for found in by_day.values() for one in found]
    name = f"last {days} days" if days else f"month {month.name}"
    tables = [(key, _rows(sums, value, config)) for key, value in KEYS if session is None or key != "chat"]
    tables.append(("day", tuple(_row(day, found, config) for day, found in by_day.items() if found)))
    totals = (_row(f"today, {today.name}", by_day[today.name], config), _row(name, sums, config))
    caps: tuple[Standing, ...] = ()
    if session is None and config.caps:
        of_month = ledger.sums(month.begin, month.end)
        caps = tuple(standings(config, {"day": by_day[today.name], "month": of_month}, calendar, now))
    return Report(calendar, config, name, totals, tuple((key, rows) for key, rows in tables if rows), caps)


def _days_of(calendar: Calendar, month: Period, today: Period) -> tuple[Period, ...]:
    return calendar.last_days(today.begin, (today.first - month.first).days + 1)


def _of(sums: Iterable[Sum], session: str | None) -> list[Sum]:
    return [one for one in sums if session is None or one.session == session]


def _rows(sums: Sequence[Sum], key: Callable[[Sum], str], config: UsageConfig) -> tuple[Row, ...]:
    """By name, the largest first; none for calls without one."""
    groups: dict[str, list[Sum]] = {}
    for one in sums:
        groups.setdefault(key(one), []).append(one)
    rows = (_row(name, found, config) for name, found in groups.items() if name)
    return tuple(sorted(rows, key=lambda row: (-row.tokens, row.name)))


def _row(name: str, sums: Sequence[Sum], config: UsageConfig) -> Row:
    usage = sum((one.usage for one in sums), Usage())
    prices = [(one, price_of(one.model, config.prices)) for one in sums]
    amount = sum(cost(one.usage, price) for one, price in prices if price is not None)
    unpriced = frozenset(one.model for one, price in prices if price is None and one.tokens)
    return Row(name, sum(one.calls for one in sums), usage, amount, unpriced)


def _short(session: str) -> str:
    try:
        return SessionKey.parse(session).short
    except ValueError:
        return session


def _person(principal: str) -> str:
    try:
        who = Principal.parse(principal)
    except ValueError:
        return principal or NOBODY
    return f"{who.user} on {who.channel}"


# --- text


def lines(told: Report, *, brief: bool = False) -> Iterator[str]:
    """For people. brief: without the tables of principals and kinds, for a chat."""
    headed = [("", told.totals), *((f"by {key}", rows) for key, rows in told.tables)]
    if brief:
        headed = [(head, rows) for head, rows in headed if head not in ("by principal", "by kind")]
    shown = [(head, _cut(rows) if head != "by day" else rows[-MOST_ROWS:]) for head, rows in headed]
    width = max(len(row.name) for _, rows in shown for row in rows) + 2
    yield f"{'':<{width}}{_columns('calls', 'read', 'from cache', 'written', _currency(told))}"
    for head, rows in shown:
        if head:
            yield f"{head}, {told.span}:"
        for row in rows:
            yield f"{row.name:<{width}}{_figures(row, told)}"
    unpriced = sorted(told.totals[-1].unpriced)
    if told.config.prices and unpriced:
        yield f"Without a price in usage.prices, and not in the sums: {', '.join(unpriced)}"
    yield from (_cap_line(one, told) for one in told.caps)


def _figures(row: Row, told: Report) -> str:
    usage = row.usage
    return _columns(f"{row.calls:,}", f"{usage.input:,}", f"{usage.cached:,}", f"{usage.output:,}", _amount(row, told))


def _columns(calls: str, read: str, cached: str, written: str, amount: str) -> str:
    return f"{calls:>7} {read:>12} {cached:>12} {written:>10} {amount:>12}".rstrip()


def _amount(row: Row, told: Report) -> str:
    if not told.config.prices:
        return ""
    return f"{row.money:,.4f}{'+' if row.unpriced else ''}"


def _currency(told: Report) -> str:
    return told.config.currency if told.config.prices else ""


def _cut(rows: Sequence[Row]) -> Sequence[Row]:
    if len(rows) <= MOST_ROWS:
        return rows
    rest = rows[MOST_ROWS - 1 :]
    usage = sum((row.usage for row in rest), Usage())
    unpriced = frozenset(model for row in rest for model in row.unpriced)
    last = Row(f"{len(rest)} more", sum(r.calls for r in rest), usage, sum(r.money for r in rest), unpriced)
    return (*rows[: MOST_ROWS - 1], last)


def _cap_line(one: Standing, told: Report) -> str:
    of = f"{one.cap.of} {one.who}".strip()
    used = f"{one.tokens:,} tokens" + (f", {one.money:,.2f} {told.config.currency}" if one.cap.money is not None else "")
    state = "" if not one.reached else " REACHED, warns only" if one.cap.action == "warn" else " REACHED, stops"
    used += f" without {', '.join(one.uncounted)}" if one.uncounted else ""
    return f"limit on {of}: {used} of {limit(one.cap, told.config.currency)}, until {told.calendar.shown(one.period.end)}{state}"


# --- JSON


def as_json(told: Report) -> JsonObject:
    """Keys in camelCase; money only where there are prices."""
    today, whole = told.totals
    return {
        "timezone": told.calendar.zone.key or "local",
        "currency": told.config.currency if told.config.prices else None,
        "today": _row_json(today, told),
        "span": _row_json(whole, told),
        **{f"by{key.capitalize()}": [_row_json(row, told) for row in rows] for key, rows in told.tables},
        "caps": [_cap_json(one) for one in told.caps],
    }


def _row_json(row: Row, told: Report) -> JsonObject:
    said: JsonObject = {
        "name": row.name,
        "calls": row.calls,
        "input": row.usage.input,
        "cached": row.usage.cached,
        "output": row.usage.output,
    }
    if told.config.prices:
        said |= {"money": round(row.money, 6), "unpriced": [*sorted(row.unpriced)]}
    return said


def _cap_json(one: Standing) -> JsonObject:
    cap = one.cap
    return {
        "of": cap.of,
        "who": one.who,
        "per": cap.per,
        "action": cap.action,
        "tokens": one.tokens,
        "mostTokens": cap.tokens,
        "money": round(one.money, 6),
        "mostMoney": cap.money,
        "reached": one.reached,
        "until": one.period.end,
    }
