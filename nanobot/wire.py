"""JSON as a type, for the modules at an edge that read or write it. Inside the house values are attrs classes.

`Json` is what `json.loads` can return. It is recursive, so a reader narrows it with `isinstance` or `match`.
"""

from __future__ import annotations

from typing import TypeAlias, Union

Json: TypeAlias = Union[bool, int, float, str, list["Json"], dict[str, "Json"], None]  # noqa: UP007  # recursive
JsonObject: TypeAlias = dict[str, Json]
