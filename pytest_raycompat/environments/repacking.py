"""An unpacked wheel, made a wheel again: uv installs wheels, and people patch folders."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from email.parser import HeaderParser
from pathlib import Path


def repack(folder: Path, information: Path, into: Path) -> Path:
    """Write the wheel that ``folder`` unpacks from, with what has been changed in it, and return its path.

    Args:
        folder: what a wheel was unpacked to.
        information: its ``*.dist-info``.
        into: the folder to write to; a wheel that is there already is taken.

    Raises:
        ValueError: it lacks what a wheel needs to be named.
    """
    tags = _tags(information / "WHEEL")
    wheel = into / f"{information.name.removesuffix('.dist-info')}-{tags}.whl"
    if wheel.is_file():
        return wheel
    into.mkdir(parents=True, exist_ok=True)
    partial = wheel.with_suffix(f".{os.getpid()}.partial")
    record = information.relative_to(folder) / "RECORD"
    lines = []
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if not path.is_file() or "__pycache__" in name.parts or ".git" in name.parts or name == record:
                continue
            archive.write(path, name)
            lines.append(f"{name},{_hash(path)},{path.stat().st_size}")
        archive.writestr(str(record), "\n".join([*lines, f"{record},,", ""]))
    os.replace(partial, wheel)
    return wheel


def _tags(path: Path) -> str:
    """Read the compressed tag set of a ``WHEEL`` file: ``cp311-cp311-manylinux2014_x86_64``."""
    if not path.is_file():
        raise ValueError(f"{path.parent.name} has no WHEEL, which says for which Python it is")
    tags = [tag.split("-") for tag in HeaderParser().parsestr(path.read_text("utf-8", "replace")).get_all("Tag", [])]
    if not tags or any(len(tag) != 3 for tag in tags):
        raise ValueError(f"{path} names no tags")
    return "-".join(".".join(dict.fromkeys(column)) for column in zip(*tags, strict=True))


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
