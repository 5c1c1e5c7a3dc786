"""Installing a skill's packages, with the real venv and pip; and a command that uses them."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest
import trio

from nanobot.config.schema import ExecConfig
from nanobot.errors import InUse
from nanobot.processes.sandbox import probe
from nanobot.skills import installing
from nanobot.skills.catalog import State
from nanobot.skills.installing import NotInstalled, build_env, install
from nanobot.skills.places import home, installed
from nanobot.skills.requirements import parse
from nanobot.skills.shelf import Shelf
from tests.skills.kit import Instance, text
from tests.skills.wheels import source, wheel
from tests.tools.kit import Kit, make_kit


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, "ledgerly", program="ledgerly")
    wheel(folder, "ledgerly", "2.0", program="ledgerly")
    return folder


def environ(index: Path) -> dict[str, str]:
    """pip with that folder and nothing else."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {
        **plain,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": os.devnull,
        "OPENAI_API_KEY": "sk-secret",
    }


def quiet(_line: str) -> None:
    """Tells nobody."""


async def test_it_is_installed_used_and_renewed(tmp_path: Path, index: Path) -> None:
    kit = make_kit(tmp_path, isolation=await probe(ExecConfig(), os.environ))
    here = Instance(tmp_path / "data")
    here.put("books", text("Booking."))
    file = here.put("books", "ledgerly==1.0", file="requirements.txt")
    shelf, left = here.shelf(), home(here.data, "books") / "env-of-an-attempt-that-was-killed"
    left.mkdir(parents=True)
    await install(here.data, "books", parse(file.read_bytes()), environ(index), quiet)
    assert state(shelf) is State.READY
    assert not left.exists()
    await it_is_used_where_it_is_named(kit)
    file.write_text("ledgerly==2.0")
    assert state(shelf) is State.LACKING, "what is installed is not what is wanted any more"
    folder = await install(here.data, "books", parse(file.read_bytes()), environ(index), quiet)
    assert state(shelf) is State.READY
    assert list(home(here.data, "books").glob("env-*")) == [folder]
    assert "ledgerly 2.0" in await kit.text("exec", command="ledgerly", skill="books")


async def it_is_used_where_it_is_named(kit: Kit) -> None:
    assert "ledgerly 1.0" in await kit.text("exec", command="ledgerly", skill="books")
    assert "ledgerly 1.0" in await kit.text("exec", command="python -c 'import ledgerly; ledgerly.main()'", skill="books")
    assert "127" in (await kit.call("exec", command="ledgerly")).text
    for name in ("other", "../books", "/books", "books/."):
        assert "nothing is installed for a skill" in await kit.refused("exec", command="ledgerly", skill=name)


def state(shelf: Shelf) -> State:
    entry = shelf.look().find("books")
    assert entry is not None
    return entry.state


def test_the_owner_who_is_asked_is_told_whose_programs_run(tmp_path: Path) -> None:
    kit = make_kit(tmp_path)
    an_environment(tmp_path / "data", "books")
    with_skill = kit.tools.intent("exec", '{"command": "ledgerly", "skill": "books"}', kit.turn)
    without = kit.tools.intent("exec", '{"command": "ledgerly"}', kit.turn)
    assert with_skill.terms == f"{without.terms}, with the programs of the skill books"


def an_environment(data: Path, name: str) -> None:
    """As far as one looks at it from outside."""
    folder = home(data, name)
    (folder / "env-0123456789ab" / "bin").mkdir(parents=True)
    (folder / "installed.json").write_text(json.dumps({"environment": "env-0123456789ab", "requirements": "x"}))


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "[]",
        '{"environment": "../../elsewhere", "requirements": "x"}',
        '{"environment": "env-0123456789ab/../../..", "requirements": "x"}',
        '{"environment": "env-gone00000000", "requirements": "x"}',
        '{"environment": 5, "requirements": "x"}',
        "{" * 5000,
    ],
)
def test_a_damaged_record_is_no_environment(record: str, tmp_path: Path) -> None:
    home(tmp_path, "x").mkdir(parents=True)
    (tmp_path / "elsewhere" / "bin").mkdir(parents=True)
    (home(tmp_path, "x") / "installed.json").write_text(record)
    assert installed(tmp_path, "x") is None


@pytest.mark.parametrize("wanted", ["eager", "ledgerly==1.0 --hash=sha256:" + "0" * 64])
async def test_what_fails_changes_nothing_and_runs_no_code_of_a_package(wanted: str, tmp_path: Path, index: Path) -> None:
    source(index, "eager", tmp_path / "witness")
    an_environment(tmp_path, "x")
    before = installed(tmp_path, "x")
    with pytest.raises(NotInstalled, match=r"pip could not install them"):
        await install(tmp_path, "x", parse(wanted.encode()), environ(index), quiet)
    assert installed(tmp_path, "x") == before is not None
    assert not (tmp_path / "witness").exists()
    assert len(list(home(tmp_path, "x").glob("env-*"))) == 1, "a failed attempt leaves no environment"


async def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    nowhere = {
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "1",
    }
    with pytest.raises(NotInstalled, match="The index of packages cannot be reached"):
        await install(tmp_path, "x", parse(b"icalendar"), nowhere, quiet)


async def test_a_cancelled_attempt_leaves_no_process(tmp_path: Path, index: Path) -> None:
    def begun() -> bool:
        return bool(list(tmp_path.glob("skills/x/env-*/bin/python")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(install, tmp_path, "x", parse(b"ledgerly"), environ(index), quiet)
        with trio.fail_after(30):
            while not begun():  # noqa: ASYNC110 -- nobody tells what another process has made
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert installed(tmp_path, "x") is None
    left = str(tmp_path).encode()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if left in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_it_has_a_deadline(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "INSTALL_S", 0.05)
    with pytest.raises(NotInstalled, match="took longer"):
        await install(tmp_path, "x", parse(b"ledgerly"), environ(index), quiet)


async def test_two_at_once_are_one_too_many(tmp_path: Path, index: Path) -> None:
    home(tmp_path, "x").mkdir(parents=True)
    fd = os.open(home(tmp_path, "x"), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(InUse):
        await install(tmp_path, "x", parse(b"ledgerly"), environ(index), quiet)
    os.close(fd)


def test_pip_gets_its_settings_and_no_keys() -> None:
    seen = build_env(
        {"PIP_INDEX_URL": "i", "https_proxy": "p", "OPENAI_API_KEY": "sk-secret", "PATH": "/bin", "PYTHONPATH": "/x"}
    )
    assert set(seen) == {"PIP_INDEX_URL", "https_proxy", "PATH", "LANG"}
