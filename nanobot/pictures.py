"""What a file says it is, by its first bytes: the sort of picture, how many pixels. Nothing is decoded, and no name believed."""

from __future__ import annotations

import struct

import attrs

LARGEST = 3_750_000
"""Bytes: 5 MB in base64, the least that one of the services takes."""
LONGEST_SIDE = 8000
"""Pixels: what is larger, the same service refuses."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG behind which the size stands."""
MIMES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WebP": "image/webp"}
"""Media types of the sorts that model services take."""
_SEGMENTS = 4096
"""Most of them before it; cameras write some dozens, and a file can be nothing else."""
_TAKEN = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
)
_NOT_TAKEN = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "icon"),
    (b"<svg", "SVG"),
    (b"<?xml", "SVG"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "raw"}
"""Of the container that HEIC is in; others are HEIC."""


@attrs.frozen
class Header:
    kind: str
    """`PNG`, `HEIC`; empty where it is nothing that is known."""
    taken: bool = False
    """A sort that model services take."""
    width: int = 0
    height: int = 0
    """Pixels; 0 where that cannot be read."""


def header_of(data: bytes) -> Header:
    """data: the whole file; of a sort that is not taken, its first bytes are enough."""
    kind = _kind(data)
    if kind not in _SIZES:
        return Header(kind)
    try:
        width, height = _SIZES[kind](data)
    except (struct.error, IndexError):
        width = height = 0
    return Header(kind, taken=True, width=width, height=height)


def fault_of(data: bytes) -> str:
    """Why services would refuse it, for the model; empty where they would not. data: all of it, or more than LARGEST bytes."""
    header = header_of(data)
    if not header.taken:
        kind = f"{header.kind} pictures" if header.kind else "what it is"
        return f"model services do not take {kind}; convert it to PNG or JPEG, if there is a way"
    if len(data) > LARGEST:
        return f"it has more than {LARGEST / 1e6:.2f} MB; make a smaller copy, if there is a way"
    if not (header.width and header.height):
        return f"it begins like a {header.kind} and is damaged"
    if max(header.width, header.height) > LONGEST_SIDE:
        return f"it has {header.width} x {header.height} pixels, and {LONGEST_SIDE} a side is the most; make a smaller copy"
    return ""


def _kind(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "HEIC")
    return next((kind for magic, kind in (*_TAKEN, *_NOT_TAKEN) if data.startswith(magic)), "")


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return (width, height) if data[12:16] == b"IHDR" else (0, 0)


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    """The first frame's size: from marker to marker, each with its length."""
    at = 2
    for _ in range(_SEGMENTS):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 1 if marker == 0xFF else 2 + length
    return 0, 0


def _webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X" if len(data) >= 30:
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case _:
            return 0, 0


_SIZES = {"PNG": _png, "JPEG": _jpeg, "GIF": _gif, "WebP": _webp}
