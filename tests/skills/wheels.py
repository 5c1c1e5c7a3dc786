"""A package index that is a folder: wheels made by hand, so that installing needs no network."""

from __future__ import annotations

import base64
import hashlib
import tarfile
import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str = "1.0", *, program: str = "") -> Path:
    """A wheel with a module, and a program that prints `<program> <version>`."""
    module = f"def main():\n    print('{program} {version}')\n"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if program:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{program} = {name}:main\n"
    record = "".join(f"{path},sha256={_hash(text)},{len(text)}\n" for path, text in files.items())
    file = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return file


def source(folder: Path, name: str, witness: Path) -> None:
    """A package without a wheel, whose building leaves a trace."""
    top = folder / f"{name}-1.0"
    top.mkdir()
    trace = f"open({str(witness)!r}, 'w').close()"
    (top / "setup.py").write_text(f"{trace}\nfrom setuptools import setup\nsetup(name={name!r}, version='1.0')\n")
    (top / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        archive.add(top, top.name)


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
