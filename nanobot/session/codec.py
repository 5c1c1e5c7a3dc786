"""Records and snapshots as JSON, and back. The format of the journal's contents; `journal/segment.py` has that of its lines.

A record is an object whose `t` names it; fields at their default are left out. `FORMAT` rises with every new record, field
or meaning; `READS` is the oldest version that can be read, by decoders kept for it. An unknown name or field is not guessed
at: it raises `UnknownFormat`, and the session is refused untouched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeVar, get_args

import attrs
from cattrs import Converter
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from nanobot.messages import Entry
from nanobot.session.records import Record
from nanobot.session.state import SeenIds, Session, State
from nanobot.wire import Json

FORMAT = 1
"""Version of what is written now."""
READS = 1
"""Oldest version that this code reads; written to headers as the least reader."""

T = TypeVar("T")
Reader = Callable[[dict[str, Json], type], object]
Writer = Callable[[object], dict[str, Json]]


class UnknownFormat(ValueError):
    """A record, field or value that this version does not know."""


def _tag(cls: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def _converter() -> Converter:
    converter = Converter(detailed_validation=False, forbid_extra_keys=True, omit_if_default=True)
    for union in (Entry, State, Record):
        _register_union(converter, union)
    converter.register_unstructure_hook(SeenIds, dict)
    converter.register_structure_hook(SeenIds, lambda found, _: SeenIds(found.items()))
    return converter


def _register_union(converter: Converter, union: object) -> None:
    """Objects of a union carry `t`, the name of their class. A class's code is made when it is first met."""
    classes: dict[str, type] = {_tag(cls): cls for cls in get_args(union)}
    names = {cls: name for name, cls in classes.items()}

    @cache
    def reader(cls: type) -> Reader:
        return make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=False)

    @cache
    def writer(cls: type) -> Writer:
        return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True)

    def structure(found: dict[str, Json], _: object) -> object:
        name = found.get("t")
        cls = classes.get(name) if isinstance(name, str) else None
        if cls is None:
            raise UnknownFormat(f"unknown record {name!r}")
        return reader(cls)({k: v for k, v in found.items() if k != "t"}, cls)

    def unstructure(value: object) -> dict[str, Json]:
        cls: type = type(value)
        return {"t": names[cls], **writer(cls)(value)}

    converter.register_structure_hook(union, structure)
    converter.register_unstructure_hook(union, unstructure)


_CONVERTER = _converter()


def encode(records: Iterable[Record]) -> list[Json]:
    return [_CONVERTER.unstructure(record, Record) for record in records]


def decode(rows: Iterable[Json]) -> list[Record]:
    """Raises: UnknownFormat."""
    return [_structure(row, Record) for row in rows]  # type: ignore[arg-type]


def encode_session(session: Session) -> Json:
    row: Json = _CONVERTER.unstructure(session, Session)
    return row


def decode_session(row: Json) -> Session:
    """Raises: UnknownFormat."""
    return _structure(row, Session)


def _structure(row: Json, kind: type[T]) -> T:
    try:
        return _CONVERTER.structure(row, kind)
    except ForbiddenExtraKeysError as exc:
        raise UnknownFormat(f"unknown fields {sorted(exc.extra_fields)} in {exc.cl.__name__}") from exc
    except (BaseValidationError, KeyError, TypeError, AttributeError, ValueError) as exc:
        raise UnknownFormat(f"{type(exc).__name__}: {exc}") from exc


RECORD_TYPES: tuple[type, ...] = get_args(Record)
assert all(attrs.has(cls) for cls in RECORD_TYPES)
