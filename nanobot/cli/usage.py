"""`nanobot usage`: what model calls have used up, by chat, job, model, principal and day."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter, validators

from nanobot.archive.reading import Reader
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell, tell_warnings
from nanobot.cli.texts import plain
from nanobot.usage.days import Calendar
from nanobot.usage.journals import catch_up
from nanobot.usage.ledger import Ledger
from nanobot.usage.report import as_json, lines, report

MOST_DAYS = 800
NOTHING = "Nothing was used up yet."
DaysOption = Annotated[
    int | None,
    Parameter(
        name="--days", help="Of the last so many days, instead of this month.", validator=validators.Number(gte=1, lte=800)
    ),
]


def usage(*, days: DaysOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show the tokens, and with usage.prices the money, of today and of this month."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    places = instance.places
    if not places.usage.exists() and not places.journals.exists():
        say_json({}) if json else say(NOTHING)
        return
    ledger = Ledger(places.usage)
    ledger.check()
    catch_up(ledger, Reader(str(places.journals)))
    calendar = Calendar.of(instance.config.agents.defaults.timezone)
    told = report(ledger, instance.config.usage, calendar, time.time(), days=days or 0)
    if json:
        say_json(as_json(told))
        return
    tell(f"Days begin at midnight in {calendar.zone.key or 'the time zone of this machine'}.")
    for line in lines(told):
        say(plain(line))
