"""`apply_patch`: several edits in several files, all of them or none.

Everything is read and tried in memory first: what each edit makes of its file, whether it may be written at all. All mistakes are
told at once, and nothing is touched. Only what fits as a whole is written (patch_files.py), with the rules of `write_file` and
`edit_file`: the same paths, the same right to change instructions, the same memory of what strangers wrote.
"""

from __future__ import annotations

import difflib
import io
import os
from pathlib import Path
from typing import Annotated, Literal

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.security import workspace
from nanobot.tools.edit import EditFile, edited
from nanobot.tools.patch_files import Change, write_all
from nanobot.tools.plain import one_line
from nanobot.tools.port import Intent, Result, Tool, ToolTurn
from nanobot.tools.schema import Arg

MOST_EDITS = 20
"""As HKUDS/nanobot has it; what is more cannot be looked over either."""
LARGEST_PATCH = 20 * 1024 * 1024
"""Bytes of all files together, old and new: they are in memory at once."""
FOLDER = "patches"
"""In the data directory: what is being written, for who comes after a crash."""

Action = Literal["replace", "add", "delete"]
DONE: dict[Action, str] = {"replace": "Changed", "add": "Added", "delete": "Deleted"}


@attrs.frozen
class PatchEdit:
    path: Annotated[str, Arg("The file.")]
    action: Annotated[Action, Arg("Replace text in it, add it as a new file, or delete it.")] = "replace"
    old_text: Annotated[str, Arg("For replace: text to find, exactly as it stands there, and only once.")] = ""
    new_text: Annotated[str, Arg("For replace: text to put in its place; for add: the whole file.")] = ""


@attrs.frozen
class ApplyPatch:
    edits: Annotated[
        tuple[PatchEdit, ...],
        Arg("What to do, in order; several edits of one file build on each other.", minimum=1, maximum=MOST_EDITS),
    ]
    dry_run: Annotated[bool, Arg("Change nothing: only say what would be changed, as a diff.")] = False


@attrs.define
class _File:
    """A file as it is, and as the edits so far would make it."""

    path: str
    """As the model wrote it first."""
    real: Path
    old: os.stat_result | None
    """None: nothing was there."""
    before: str | None = None
    """None where nothing was there, and of what is deleted unread."""
    after: str | None = None
    """None: there would be nothing."""
    tainted: bool = False

    @property
    def change(self) -> Change | None:
        """What there is to do; None: nothing."""
        unchanged = self.before == self.after if self.after is not None else self.old is None
        return None if unchanged else Change(self.path, self.real, self.old, None if self.after is None else self.after.encode())

    @property
    def action(self) -> Action:
        if self.after is None:
            return "delete"
        return "add" if self.old is None else "replace"


@attrs.define
class _Draft:
    """What the edits so far come to."""

    turn: ToolTurn
    files: dict[Path, _File] = attrs.field(factory=dict)
    mistakes: list[str] = attrs.field(factory=list)
    room: int = attrs.field(factory=lambda: LARGEST_PATCH)

    def take(self, number: int, edit: PatchEdit) -> None:
        try:
            file = self._file(edit)
            self._edit(file, edit)
        except ToolError as error:
            self.mistakes.append(f"- edit {number}, {edit.action} {one_line(edit.path)}: {error}")

    def _file(self, edit: PatchEdit) -> _File:
        """Raises: ToolError."""
        real = workspace.check_write(edit.path, self.turn)
        if real not in self.files:
            self.files[real] = self._found(edit, real)
        return self.files[real]

    def _found(self, edit: PatchEdit, real: Path) -> _File:
        if not os.path.lexists(real):
            return _File(edit.path, real, None)
        with workspace.open_file(edit.path, self.turn) as opened:
            found = os.fstat(opened.file.fileno())
            if edit.action != "replace":  # it need be no text then
                return _File(edit.path, real, found, after="", tainted=opened.of_strangers())
            self._take_room(found.st_size)
            data = opened.file.read(found.st_size + 1)
            tainted = opened.of_strangers()
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise ToolError(f"it is not UTF-8 text (byte {error.start}). Use exec") from error
        return _File(edit.path, real, found, text, text, tainted)

    def _edit(self, file: _File, edit: PatchEdit) -> None:
        """Raises: ToolError."""
        there = file.after is not None
        match edit.action:
            case "add" if there:
                raise ToolError("it is there already. Replace a part of it, or delete it first")
            case "add":
                self._take_room(len(edit.new_text.encode()))
                file.after = edit.new_text
            case "delete" if _is_link(edit.path, file.real, self.turn):
                raise ToolError("it is a link. Name the file that it leads to, or remove the link with exec")
            case "delete" if not there:
                raise ToolError("there is no such file")
            case "delete":
                file.after = None
            case "replace" if file.after is None:
                raise ToolError("there is no such file. Use add for a new one")
            case "replace":
                file.after = _replaced(file.after, edit)
                self._take_room(len(edit.new_text.encode()))

    def _take_room(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise ToolError(f"the patch comes to more than {LARGEST_PATCH:,} bytes. Split it, or use exec")

    @property
    def tainted(self) -> bool:
        return any(file.tainted for file in self.files.values())


def _is_link(path: str, real: Path, turn: ToolTurn) -> bool:
    """Whether the path itself, not a folder on the way, leads to another name. Raises: ToolError."""
    return workspace.resolve(str(Path(path).parent), turn) / Path(path).name != real


def _replaced(text: str, edit: PatchEdit) -> str:
    """Raises: ToolError."""
    if edit.old_text and (count := text.count(edit.old_text)) > 1:
        raise ToolError(f"old_text is found {count} times. Give more of the lines around it")
    return edited(text, EditFile(edit.path, edit.old_text, edit.new_text)).text


async def _run(params: ApplyPatch, turn: ToolTurn) -> Result:
    return await trio.to_thread.run_sync(_apply, params, turn)


def _apply(params: ApplyPatch, turn: ToolTurn) -> Result:
    draft = _Draft(turn)
    for number, edit in enumerate(params.edits, 1):
        trio.from_thread.check_cancelled()  # an edit of a long file takes seconds
        draft.take(number, edit)
    if draft.mistakes:
        listed = "\n".join(draft.mistakes)
        # It may show lines of the files.
        return Result(f"Error: nothing was changed, because not all of it fits:\n{listed}", tainted=draft.tainted, failed=True)
    files = [file for file in draft.files.values() if file.change is not None]
    if not files:
        raise ToolError("these edits change nothing")
    if params.dry_run:
        return Result("Nothing was changed; this would be:\n" + "\n".join(map(_shown, files)), tainted=draft.tainted)
    changes = [change for file in files if (change := file.change) is not None]
    write_all(changes, turn, folder_of(turn), trio.from_thread.check_cancelled)
    return Result("\n".join(f"{DONE[file.action]} {one_line(file.path)}" for file in files))


def folder_of(turn: ToolTurn) -> Path:
    return (turn.data or turn.results) / FOLDER


def _shown(file: _File) -> str:
    """As a diff."""
    name = one_line(file.path)
    if file.after is None:
        return f"delete {name}"
    before, after = (io.StringIO(text).readlines() for text in (file.before or "", file.after))
    diff = difflib.unified_diff(before, after, name if file.old else "/dev/null", name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in diff)


def _intent(params: ApplyPatch, turn: ToolTurn) -> Intent:
    """One row for all of it: what is asked for one file is asked for the whole."""
    subjects = list(dict.fromkeys(workspace.subject_of(edit.path, turn) for edit in params.edits))
    instructions = [s for s in subjects if workspace.instructs(str(turn.workspace / s), turn)]
    names = ", ".join(map(one_line, subjects))
    if not instructions:
        return Intent("apply_patch", "\n".join(subjects), f"Writes {names}.")
    verb = "becomes" if len(instructions) == 1 else "become"
    which = "which" if len(subjects) == 1 else f"of which {', '.join(map(one_line, instructions))}"
    return Intent("apply_patch:instructions", "\n".join(subjects), f"Writes {names}, {which} {verb} part of my instructions.")


PATCH_TOOL = Tool(
    "apply_patch",
    "Change several text files as one: if one edit does not fit, or one file cannot be written, nothing is changed. Each edit "
    "replaces a piece of text that is found once, adds a new file, or deletes one.",
    ApplyPatch,
    _run,
    Effect.WRITES,
    intent=_intent,
)
