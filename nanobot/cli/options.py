"""The options that many commands share, spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

ConfigOption = Annotated[
    Path | None,
    Parameter(name=["--config", "-c"], help="Configuration file; its folder becomes the data directory."),
]
WorkspaceOption = Annotated[Path | None, Parameter(name=["--workspace", "-w"], help="Folder the assistant works in.")]
JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON, for programs.")]
