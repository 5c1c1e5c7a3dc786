"""The skills as they are now: looked at before each model call, read again only where a file has changed.

`look` answers with the same `Catalog` for as long as no file of a skill, no environment of one and nothing that the ledger
says about one has changed, so that the system prompt stays the same, byte for byte. What skills need of this machine
(programs, variables) is looked for when the catalog is made, and anew for a skill that a message names. One look is a few
system calls a skill, so their number is bounded: the first `MOST_SKILLS` of the workspace by name are known, and a remark
says that there are more; those are still found by their name.

It blocks for moments and is not for several threads at once.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import attrs

from nanobot.config.schema import Config
from nanobot.processes.children import clean_env
from nanobot.skills import reading
from nanobot.skills.catalog import Catalog, Entry, Skill, Source, State
from nanobot.skills.places import BUILTIN, FOLDER, INSTALLED, REQUIREMENTS, SKILL, home, installed, is_name
from nanobot.skills.reading import Corner
from nanobot.tools.plain import one_line

MOST_SKILLS = 200
"""Of the workspace: a look at them takes 3 ms (0.3 for those that come along), and their list fills a prompt."""
MOST_MISNAMED = 20
MOST_NAMES = 5000
"""Names that are read of the folder; what comes after is not even counted."""

Stamp = tuple[int, ...] | None


@attrs.frozen
class _Read:
    """A skill as it was read, and what its files were like then."""

    skill: Skill
    real: tuple[Path, Path]
    """Its SKILL.md and requirements.txt, links followed."""
    files: tuple[str, ...]
    """What it depends on: SKILL.md, requirements.txt, the record of its environment."""
    stamps: tuple[Stamp, ...]


@attrs.define(eq=False)
class Shelf:
    """See the module."""

    _corner: Corner
    _environ: Mapping[str, str]
    _config: Config
    _builtin: Path = BUILTIN
    _known: dict[tuple[Source, str], _Read] = attrs.field(factory=dict, init=False)
    _looked: object = attrs.field(default=None, init=False)
    """What the files were like at the last look."""
    _judged: object = attrs.field(default=None, init=False)
    """What the catalog was made of: the ledger changes more often than what it says of skills."""
    _catalog: Catalog = attrs.field(factory=Catalog, init=False)

    def reconfigure(self, config: Config) -> None:
        """For the calls that begin from now on."""
        self._config = config
        self._looked = self._judged = None

    def look(self) -> Catalog:
        names, remarks = self._names()
        found = [self._read(Source.WORKSPACE, name) for name in names]
        own = frozenset(names)
        found += [self._read(Source.BUILTIN, name) for name in _skills(self._builtin, _names(self._builtin)) if name not in own]
        found.sort(key=lambda one: one.skill.name)
        looked = (remarks, [(one.skill.name, one.stamps) for one in found], _stamp(str(self._corner.noted)))
        if looked == self._looked:
            return self._catalog
        self._looked = looked
        tainted = [self._tainted(one) for one in found]
        judged = (remarks, looked[1], tainted)
        if judged != self._judged:
            self._judged = judged
            self._known = {(one.skill.source, one.skill.name): one for one in found}
            entries = (self._entry(one.skill, tainted=bad) for one, bad in zip(found, tainted, strict=True))
            self._catalog = Catalog((*entries, *self._misnamed()), (*remarks, *self._unknown_disabled(found)))
        return self._catalog

    def find(self, name: str) -> Entry | None:
        """The skill of that name as it is at this moment, also one that `look` has no room for."""
        if not is_name(name):
            return None
        own = self._corner.file(name)
        source = Source.WORKSPACE if os.path.lexists(own) else Source.BUILTIN
        if source is Source.BUILTIN and not (self._builtin / name / SKILL).is_file():
            return None
        one = self._read(source, name)
        return self._entry(one.skill, tainted=self._tainted(one))

    # --- inside

    def _names(self) -> tuple[list[str], tuple[str, ...]]:
        """The workspace's skills, and what is to be said about all of them."""
        folder = self._corner.workspace / FOLDER
        if not Path(os.path.realpath(folder)).is_relative_to(self._corner.workspace):
            return [], ("the folder skills leads out of the workspace, so nothing in it is read",)
        names = list(islice(_skills(folder, filter(is_name, _names(folder))), MOST_SKILLS + 1))
        told = f"the workspace has more than {MOST_SKILLS} skills, and only the first {MOST_SKILLS} by name are looked at"
        return names[:MOST_SKILLS], (told,) if len(names) > MOST_SKILLS else ()

    def _misnamed(self) -> Iterator[Entry]:
        folder = self._corner.workspace / FOLDER
        for name in islice(_skills(folder, (name for name in _names(folder) if not is_name(name))), MOST_MISNAMED):
            trouble = "its folder's name is none for a skill: letters, digits, - and _, at most 64"
            yield Entry(Skill(one_line(name), Source.WORKSPACE, self._corner.file(name), trouble=trouble), State.BROKEN)

    def _read(self, source: Source, name: str) -> _Read:
        known = self._known.get((source, name))
        files = known.files if known else self._files(source, name)
        stamps = tuple(map(_stamp, files))
        if known is not None and known.stamps == stamps:
            return known
        folder = self._folder(source, name)
        ours = source is Source.BUILTIN
        skill = reading.of_package(folder) if ours else reading.of_workspace(self._corner, name)
        real = Path(os.path.realpath(folder / SKILL)), Path(os.path.realpath(folder / REQUIREMENTS))
        return _Read(skill, real, files, stamps)

    def _files(self, source: Source, name: str) -> tuple[str, ...]:
        folder = self._folder(source, name)
        return str(folder / SKILL), str(folder / REQUIREMENTS), str(home(self._corner.data, name) / INSTALLED)

    def _folder(self, source: Source, name: str) -> Path:
        return self._builtin / name if source is Source.BUILTIN else self._corner.file(name).parent

    def _tainted(self, one: _Read) -> bool:
        if one.skill.source is Source.BUILTIN:
            return False
        text, needed = one.real
        return self._corner.tainted(text) or (one.stamps[1] is not None and self._corner.tainted(needed))

    def _entry(self, skill: Skill, *, tainted: bool) -> Entry:
        if skill.name in self._config.agents.defaults.disabled_skills:
            return Entry(skill, State.DISABLED)
        if skill.trouble:
            return Entry(skill, State.BROKEN)
        if tainted:
            return Entry(skill, State.HELD)
        lacks = tuple(self._lacks(skill))
        return Entry(skill, State.LACKING if lacks else State.READY, lacks)

    def _lacks(self, skill: Skill) -> Iterator[str]:
        """What commands would miss: programs on their PATH, variables that they see, packages."""
        seen, front = clean_env(self._config.tools.exec, self._environ), skill.front
        there = installed(self._corner.data, skill.name)
        path = f"{there.programs}:{seen['PATH']}" if there else seen["PATH"]
        if front.platforms and sys.platform not in front.platforms:
            yield f"another system ({', '.join(front.platforms)})"
        yield from (f"the program {name}" for name in front.bins if shutil.which(name, path=path) is None)
        for name in front.env:
            if not seen.get(name):
                where = " in tools.exec.allowedEnvKeys" if self._environ.get(name) else ""
                yield f"the variable {name}{where}"
        if skill.bad_requirements:
            yield "Python packages that are not installed (see nanobot skills check)"
        elif skill.requirements and (there is None or there.fingerprint != skill.requirements.fingerprint):
            yield f"its Python packages (nanobot skills install {skill.name})"

    def _unknown_disabled(self, found: Sequence[_Read]) -> Iterator[str]:
        names = {one.skill.name for one in found}
        for name in self._config.agents.defaults.disabled_skills:
            if name not in names:
                yield f"agents.defaults.disabledSkills names {one_line(name)}, and there is no such skill"


def _names(folder: Path) -> list[str]:
    """What is in the folder, in order."""
    try:
        with os.scandir(folder) as found:
            return sorted(entry.name for entry in islice(found, MOST_NAMES) if not entry.name.startswith("."))
    except OSError:
        return []


def _skills(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Those that have a SKILL.md."""
    top = str(folder)
    return (name for name in names if os.path.lexists(f"{top}/{name}/{SKILL}"))


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
