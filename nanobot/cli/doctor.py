"""`nanobot doctor`: what is wrong, and what mends it. Changes nothing; uses no network unless asked to.

Exit code 0 if nothing is bad (warnings are hints), 1 otherwise.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from nanobot.cli import probe
from nanobot.cli.checks import examine
from nanobot.cli.findings import Facts, Finding, Verdict
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json
from nanobot.config.paths import places
from nanobot.errors import ConfigError

OnlineOption = Annotated[bool, Parameter(name="--online", negative="", help="Ask the model service, too, whether the key works.")]


def doctor(*, config: ConfigOption = None, json: JsonOption = False, online: OnlineOption = False) -> int:
    """Look for what is wrong and say how to put it right."""
    facts = gather(config)
    findings = examine(facts)
    if online:
        findings["online"] = probe.online(facts)
    if json:
        say_json({name: {"verdict": str(found.verdict), "text": found.text} for name, found in findings.items()})
    else:
        _show(findings)
    return int(any(found.verdict is Verdict.BAD for found in findings.values()))


def gather(option: Path | None) -> Facts:
    """The facts of this process and of the instance whose configuration is `option`."""
    common = Facts(
        places(option),
        os.environ,
        None,
        python=sys.version_info[:2],
        encoding=sys.stdout.encoding or "unknown",
        now=time.time(),
    )
    try:
        instance = opened(option)
    except ConfigError as exc:
        return attrs.evolve(common, mistakes=exc.mistakes)
    return attrs.evolve(common, config=instance.config, warnings=instance.warnings)


def _show(findings: dict[str, Finding]) -> None:
    width = max(map(len, findings))
    for name, found in findings.items():
        say(f"{found.verdict!s:<7}  {name:<{width}}  {found.text}")
    worst = [name for name, found in findings.items() if found.verdict is Verdict.BAD]
    say(f"\nTo be mended: {', '.join(worst)}." if worst else "\nNothing is broken.")
