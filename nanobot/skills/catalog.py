"""What is known of the skills at one moment: values, and how they are put into words for a prompt.

A skill of the workspace wins over one of the same folder name that comes with the package, whatever becomes of it: it is
never the other one by surprise.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from nanobot.skills.frontmatter import Front
from nanobot.skills.requirements import Requirements

MOST_INLINED = 64 * 1024
"""Characters of all skills that are always there; they stand in every prompt. Later ones are listed like the others."""
MOST_LISTED = 32 * 1024
"""Characters of the list of the others: some 8,000 tokens, more than there is room for in small models."""
MOST_BODY = 32 * 1024
"""Characters of one skill where it is inlined; a longer one goes on in its file."""


class Source(enum.StrEnum):
    WORKSPACE = "workspace"
    BUILTIN = "built-in"


class State(enum.StrEnum):
    """What may be done with a skill."""

    READY = "ready"
    LACKING = "lacking"
    """Something that it needs is not there; the model is told what."""
    HELD = "held"
    """Written while text of strangers was in the conversation: not the owner's word, and not shown to the model as that."""
    DISABLED = "disabled"
    BROKEN = "broken"


@attrs.frozen
class Skill:
    """A folder with a SKILL.md, as it was read."""

    name: str
    """Of its folder."""
    source: Source
    file: Path
    """The SKILL.md."""
    front: Front = Front()
    body: str = ""
    requirements: Requirements | None = None
    bad_requirements: str = ""
    """Why they are not installed."""
    trouble: str = ""
    """Why it cannot be used."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What its author should mend."""
        return (*self.front.remarks, *((self.bad_requirements,) if self.bad_requirements else ()))


@attrs.frozen
class Entry:
    """A skill as it stands here and now."""

    skill: Skill
    state: State
    lacks: tuple[str, ...] = ()
    """What is missing, for people and the model."""

    @property
    def name(self) -> str:
        return self.skill.name

    @property
    def offered(self) -> bool:
        """The model is told of it."""
        return self.state in (State.READY, State.LACKING)

    @property
    def why(self) -> str:
        """Why it is not used as it is; empty where it is."""
        match self.state:
            case State.READY:
                return ""
            case State.LACKING:
                return f"it lacks {', '.join(self.lacks)}"
            case State.HELD:
                return "it was written while text of strangers was in the conversation, and nobody has looked at it since"
            case State.DISABLED:
                return "it is in agents.defaults.disabledSkills"
            case State.BROKEN:
                return self.skill.trouble


@attrs.frozen(eq=False)
class Catalog:
    """All skills, by name. The same object for as long as nothing has changed."""

    entries: tuple[Entry, ...] = ()
    remarks: tuple[str, ...] = ()
    """What is about none of them in particular."""

    def find(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name), None)


def prompt_parts(catalog: Catalog) -> list[str]:
    """For the system prompt: the skills that are always there, then the list of the others."""
    inlined = list(_always(catalog.entries))
    texts = [f"## Skill {entry.name}\n\n{body_of(entry.skill)}" for entry in inlined]
    others = [entry for entry in catalog.entries if entry.offered and entry not in inlined]
    others.sort(key=lambda entry: entry.skill.source is Source.BUILTIN)
    return [*(["# Active skills\n\n" + "\n\n".join(texts)] if texts else []), *([_listed(others)] if others else [])]


def _always(entries: Iterable[Entry]) -> Iterator[Entry]:
    room = MOST_INLINED
    for entry in entries:
        if entry.skill.front.always and entry.state is State.READY and (room := room - len(body_of(entry.skill))) >= 0:
            yield entry


def _listed(entries: Sequence[Entry]) -> str:
    """By the folder in which they are, so that it is written once."""
    room, lines, left_out, folder = MOST_LISTED, [], 0, None
    for entry in entries:
        line = _row(entry)
        if (room := room - len(line)) < 0:
            left_out += 1
            continue
        if (here := entry.skill.file.parent.parent) != folder:
            folder = here
            lines.append(f"\nIn {folder}:")
        lines.append(line)
    more = f"\n\n({left_out} more are not listed here: list_dir skills)" if left_out else ""
    return LIST + "\n".join(lines) + more


def _row(entry: Entry) -> str:
    lacks = f" [lacks {', '.join(entry.lacks)}]" if entry.lacks else ""
    return f"- {entry.name}: {entry.skill.front.description}{lacks}"


LIST = """\
# Skills

Each is a folder NAME with instructions for one kind of work in NAME/SKILL.md. Before you do such work, read that file and
follow it. If it lacks something, say so, instead of working around it.
"""


def body_of(skill: Skill) -> str:
    """Its text as it stands in a prompt."""
    body = skill.body.replace("{baseDir}", str(skill.file.parent))
    return body if len(body) <= MOST_BODY else f"{body[:MOST_BODY]}\n\n(It goes on; read {skill.file} with read_file.)"


def inlined(entry: Entry) -> str:
    """For a message that names it."""
    if not entry.offered:
        return f"[The message names the skill {entry.name}, which is not used here: {entry.why}. Say so.]"
    lacks = f" It lacks {', '.join(entry.lacks)}." if entry.lacks else ""
    return (
        f"[Skill {entry.name}, which the message asks for. Its folder: {entry.skill.file.parent}.{lacks}]\n{body_of(entry.skill)}"
    )
