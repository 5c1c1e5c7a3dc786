"""What a sound file is, by its first bytes: a name that services know it by, and how long it plays, as it says itself.

Nothing is decoded, and neither its name nor the type that came with it is believed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import attrs

_MP3_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
"""Of MPEG 1, layer III, by the index in a frame's header."""
_MP3_KBITS_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
"""Of MPEG 2 and 2.5."""


@attrs.frozen
class Sound:
    suffix: str
    """`ogg`: services go by the name of the file."""
    mime: str
    seconds: float | None = None
    """None where that is not said."""


def sound_of(data: bytes) -> Sound | None:
    """data: the whole file. None where it is nothing that services take."""
    suffix = _suffix(data)
    if suffix not in _KINDS:
        return None
    mime, length = _KINDS[suffix]
    try:
        seconds = length(data)
    except (struct.error, IndexError, ZeroDivisionError):
        seconds = None
    return Sound(suffix, mime, None if seconds is None or seconds < 0 else seconds)


def _suffix(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[4:8] == b"ftyp":
        return "m4a" if data[8:11] in (b"M4A", b"M4B", b"mp4", b"iso", b"3gp") else ""
    if data[:3] == b"ID3" or _is_frame(data):
        return "mp3"
    return {b"OggS": "ogg", b"fLaC": "flac", b"\x1a\x45\xdf\xa3": "webm"}.get(data[:4], "")


def _ogg(data: bytes) -> float | None:
    """The last page says how many samples there were."""
    at = data.rfind(b"OggS")
    (samples,) = struct.unpack_from("<q", data, at + 6)
    if b"OpusHead" in data[:200]:
        return float(samples / 48_000)
    vorbis = data[:200].find(b"\x01vorbis")
    if vorbis < 0:
        return None
    (rate,) = struct.unpack_from("<I", data, vorbis + 12)
    return float(samples / rate)


def _wav(data: bytes) -> float | None:
    at = data.find(b"fmt ", 12, 4096)
    if at < 0:
        return None
    (bytes_a_second,) = struct.unpack_from("<I", data, at + 16)
    return float(len(data) / bytes_a_second)


def _flac(data: bytes) -> float | None:
    (packed,) = struct.unpack_from(">Q", data, 18)
    samples = packed & (1 << 36) - 1
    return float(samples / (packed >> 44)) if samples else None


def _mp4(data: bytes) -> float | None:
    at = data.find(b"mvhd")
    if at < 0:
        return None
    if data[at + 4]:
        scale, units = struct.unpack_from(">IQ", data, at + 24)
    else:
        scale, units = struct.unpack_from(">II", data, at + 16)
    return float(units / scale)


def _mp3(data: bytes) -> float | None:
    """By the first frame: all the others have the same rate, or a head that counts them."""
    at = 0
    if data.startswith(b"ID3"):
        a, b, c, d = struct.unpack_from("4B", data, 6)
        at = 10 + (a << 21 | b << 14 | c << 7 | d)
    if not _is_frame(data[at:]):
        return None
    low, index, rate = not data[at + 1] >> 3 & 1, data[at + 2] >> 4, (44100, 48000, 32000, 1)[data[at + 2] >> 2 & 3]
    rate = rate // 2 if low else rate
    head = max(data.find(b"Xing", at, at + 200), data.find(b"Info", at, at + 200))
    if head >= 0 and data[head + 7] & 1:
        (frames,) = struct.unpack_from(">I", data, head + 8)
        return float(frames * (576 if low else 1152) / rate)
    kbits = (_MP3_KBITS_LOW if low else _MP3_KBITS)[index]
    return (len(data) - at) * 8 / (kbits * 1000)


def _is_frame(data: bytes) -> bool:
    """The head of a frame of MPEG layer III."""
    return len(data) > 3 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2


def _unknown(_data: bytes) -> float | None:
    return None


_KINDS: dict[str, tuple[str, Callable[[bytes], float | None]]] = {
    "ogg": ("audio/ogg", _ogg),
    "wav": ("audio/wav", _wav),
    "flac": ("audio/flac", _flac),
    "m4a": ("audio/mp4", _mp4),
    "webm": ("audio/webm", _unknown),
    "mp3": ("audio/mpeg", _mp3),
}
