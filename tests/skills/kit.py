"""What the tests of skills share: an instance with a workspace, and skills in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from nanobot.config.schema import AgentDefaults, AgentsConfig, Config
from nanobot.security.ledger import Ledger
from nanobot.skills.catalog import Entry
from nanobot.skills.reading import Corner
from nanobot.skills.shelf import Shelf

NOTHING = Path("/nonexistent")
PATH = "/usr/local/bin:/usr/bin:/bin"


@attrs.frozen
class Instance:
    data: Path

    @property
    def workspace(self) -> Path:
        return self.data / "workspace"

    @property
    def corner(self) -> Corner:
        return Corner(self.workspace, self.data, Ledger(self.data / "tainted.json", self.workspace))

    def put(self, name: str, text: str, file: str = "SKILL.md") -> Path:
        path = self.workspace / "skills" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def shelf(
        self, environ: Mapping[str, str] | None = None, *, builtin: Path = NOTHING, disabled: tuple[str, ...] = ()
    ) -> Shelf:
        config = Config(agents=AgentsConfig(defaults=AgentDefaults(disabled_skills=disabled)))
        return Shelf(self.corner, {"PATH": PATH, **(environ or {})}, config, builtin)

    def entry(self, name: str, **environ: str) -> Entry:
        found = self.shelf(environ).look().find(name)
        assert found is not None
        return found


def instance(tmp_path: Path) -> Instance:
    made = Instance(tmp_path.resolve() / "data")
    made.workspace.mkdir(parents=True)
    return made


def text(description: str = "About it.", body: str = "Do it.", **more: str) -> str:
    lines = [f"{key}: {value}" for key, value in more.items()]
    return "\n".join(["---", f"description: {description}", *lines, "---", "", body, ""])
