"""A courtesy: commands that nobody means, stopped before they run.

It is no boundary. Whoever wants to get around it can, in a hundred ways; the boundary of `exec` is the sandbox. It catches
slips: `rm -r` on a root, the home folder or a folder of the system, formatting or overwriting a disk, a fork bomb, turning
the machine off. Words are compared where a command stands, so that `echo shutdown` and `git format-patch` are left alone.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence

FORK_BOMB = re.compile(r"(\w+|:)\s*\(\s*\)\s*\{\s*\1\s*\|\s*\1\s*&\s*\}\s*;\s*\1")
DISK = re.compile(r"/dev/(sd|hd|vd|xvd|nvme|mmcblk|disk|mapper/|dm-)\w*")
POWER = frozenset(["shutdown", "reboot", "poweroff", "halt"])
PREFIXES = frozenset(
    ["sudo", "doas", "env", "nohup", "nice", "ionice", "time", "command", "exec", "setsid", "stdbuf", "xargs", "timeout"]
)
SHELLS = frozenset(["sh", "bash", "dash", "zsh", "ksh"])
SYSTEM = frozenset(
    ["/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/var", "/opt", "/proc", "/root", "/sbin", "/srv", "/sys", "/usr"]
)
HOME = frozenset(["~", "$HOME", "${HOME}"])
BREAKS = frozenset(["{", "}", "then", "do", "else", "!"])
ASSIGNMENT = re.compile(r"\w+=")
DURATION = re.compile(r"\d+(\.\d+)?[smhd]?")
OPTIONS_WITH_VALUE = frozenset(["-u", "-g", "-n", "-k", "-s", "-c", "-I", "-P"])


def objection(command: str) -> str | None:
    """Why the command is not run, or None."""
    if FORK_BOMB.search(command):
        return "it is a fork bomb"
    return next(filter(None, map(_objection, _simple_commands(command))), None)


def _simple_commands(command: str) -> Iterator[list[str]]:
    """Its commands as words, as a shell would part them. What cannot be parted (an open quote) is parted at blanks."""
    lexer = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.commenters, lexer.whitespace_split = "", True
    try:
        words = list(lexer)
    except ValueError:
        words = command.split()
    current: list[str] = []
    for word in words:
        if word in BREAKS or not word.strip(";&|()"):
            yield current
            current = []
        else:
            current.append(word)
    yield current


def _objection(words: Sequence[str]) -> str | None:
    for at, word in enumerate(words):
        if ">" in word and at + 1 < len(words) and DISK.fullmatch(words[at + 1]):
            return f"it overwrites the disk {words[at + 1]}"
    words = _without_prefixes(words)
    if not words:
        return None
    name, arguments = os.path.basename(words[0]), words[1:]
    if name == "rm":
        return _rm(arguments)
    if name in SHELLS and "-c" in arguments[:-1]:
        return objection(arguments[arguments.index("-c") + 1])
    if name == "mkfs" or name.startswith("mkfs."):
        return "it formats a disk"
    if name == "dd" and (disk := next((a for a in arguments if a.startswith("of=") and DISK.fullmatch(a[3:])), None)):
        return f"it overwrites the disk {disk[3:]}"
    if name in POWER or (name == "init" and arguments[:1] in (["0"], ["6"])):
        return "it turns the machine off"
    if name == "systemctl" and POWER & set(arguments):
        return "it turns the machine off"
    return None


def _without_prefixes(words: Sequence[str]) -> Sequence[str]:
    """Without what only leads to the command: `A=1 sudo -u root`."""
    prefixed, takes_value = False, False
    while words:
        word, is_option = words[0], prefixed and words[0].startswith("-")
        is_prefix = word in PREFIXES or ASSIGNMENT.match(word) is not None
        if not (is_prefix or is_option or takes_value or (prefixed and DURATION.fullmatch(word))):
            break
        prefixed |= word in PREFIXES
        takes_value = is_option and word in OPTIONS_WITH_VALUE
        words = words[1:]
    return words


def _rm(arguments: Sequence[str]) -> str | None:
    short = "".join(a for a in arguments if a.startswith("-") and not a.startswith("--")).lower()
    if "r" not in short and "--recursive" not in arguments:
        return None
    target = next((a for a in arguments if _is_root(a)), None)
    return target and f"it deletes {target} with all that is in it"


def _is_root(target: str) -> bool:
    bare = target.rstrip("/*")
    return bare in HOME or os.path.normpath(bare) in SYSTEM if bare else "/" in target
