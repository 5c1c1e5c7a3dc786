"""What `nanobot doctor` says about memory: a store that cannot be used, files that are in the way, what waits."""

from __future__ import annotations

from contextlib import closing

from nanobot.agent.prompt_files import PromptFiles
from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok, warn
from nanobot.errors import StoreUnusable
from nanobot.memory.port import MEMORY, PROMPT_FILES
from nanobot.memory.store import MemoryStore
from nanobot.security.ledger import Ledger


def memory(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    where, workspace = facts.places.memory, facts.places.workspace(facts.config)
    ledger = Ledger(facts.places.tainted, workspace)
    held = _held(PromptFiles(workspace, facts.places.data, ledger))
    if not where.exists():
        return warn(*held) if held else ok("nothing yet")
    with closing(MemoryStore.of(facts.config, where, workspace, ledger)) as store:
        try:
            wrong, waiting, versions = [*held, *store.troubles()], len(store.proposals()), len(store.versions(MEMORY, 10_000))
        except StoreUnusable as error:
            return bad(f"{error}. Put it right, or move it away to begin with what {MEMORY} says, without earlier versions")
    told = f"; {waiting} update{'s wait' if waiting > 1 else ' waits'}: nanobot memory proposals{facts.option}" if waiting else ""
    if wrong:
        return warn(f"{'; '.join(wrong)}{told}")
    return ok(f"{versions} version{'' if versions == 1 else 's'} of {MEMORY}{told}")


def _held(files: PromptFiles) -> list[str]:
    names = [name for name in (*PROMPT_FILES, MEMORY) if files.is_held(name) and (files.workspace / name).exists()]
    told = "written with text of strangers in sight, so not in prompts: {}. Read it, then: nanobot memory trust FILE"
    return [told.format(", ".join(names))] if names else []
