"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What ``msgspec.json.decode`` raises where something is no JSON: other bytes than UTF-8, brackets in brackets."""


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write ``content`` to ``path``, whole or not at all, with permissions ``mode``; folders on the way are made.

    A link goes on pointing to what it names, and a device or a pipe is written to, not replaced.

    Raises:
        OSError: it cannot be written; names ``path``.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def nearest(path: Path) -> Path:
    """Return ``path``, or the first of the folders above it that is there."""
    path = Path(os.path.abspath(path))
    return next(one for one in (path, *path.parents) if one.exists())


def check_output(path: Path, option: str) -> None:
    """Make sure before anything runs that a file can be written to ``path``, whose folders may not be there yet.

    Raises:
        ValueError: it cannot; names the option, what is wrong and what would be right.
    """
    written = f"{option}: {str(path)!r}"
    if path.is_dir():
        raise ValueError(f"{written} is a folder: write the path of a file")
    if path.exists() and not path.is_file():  # a device or a pipe
        return
    folder = nearest(path.parent)
    if not folder.is_dir():
        raise ValueError(f"{written} is below {folder.name!r}, which is a file")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"{written} cannot be written: {folder}: {error.strerror}") from None
