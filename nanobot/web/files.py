"""The files of the page, read once at start: what is not in this list cannot be asked for, so there is no path to escape from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import attrs
from starlette.requests import Request
from starlette.responses import Response

HERE = Path(__file__).parent / "page"
TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
START = "index.html"


@attrs.frozen
class File:
    """One file of the page. `etag` changes with its bytes."""

    data: bytes
    mime: str
    etag: str

    async def answer(self, request: Request) -> Response:
        """The file, or 304 for a browser that has it. It always asks: a new version shows at once."""
        headers = {"etag": self.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.data, media_type=self.mime, headers=headers)


def read(folder: Path = HERE) -> dict[str, File]:
    """The page's files by their path on the server; the start page is also `/`."""
    found = {f"/{path.name}": _file(path) for path in sorted(folder.iterdir()) if path.suffix in TYPES and path.is_file()}
    if f"/{START}" in found:
        found["/"] = found[f"/{START}"]
    return found


def _file(path: Path) -> File:
    data = path.read_bytes()
    return File(data, TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')
