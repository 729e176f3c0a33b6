"""A Ray or a vLLM to try: a release on the index, a wheel, or a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pytest_raycompat.environments import recipe
from pytest_raycompat.environments.recipe import Package
from pytest_raycompat.environments.repacking import repack

NONE = "none"
"""What stands for a pair without vLLM, whose environment is built in seconds: enough for suites that need Ray alone."""


class CandidateError(ValueError):
    """What was named is no Ray or vLLM to try; says what would be right."""


@dataclass(frozen=True)
class Candidate:
    """One Ray or vLLM."""

    package: Package
    label: str
    """What tells it from others: ``2.60.0``, or of a file ``2.35.0+corp.3@1a2b3c4d``, with a digest of it."""
    requirement: str
    """As uv takes it; empty for :data:`NONE`."""
    version: str | None
    """Its version; None for :data:`NONE`, and where only building it would tell."""
    released: bool
    """Whether it is a release on the index."""

    @property
    def is_none(self) -> bool:
        """Whether it stands for nothing."""
        return not self.requirement

    def __str__(self) -> str:
        name = {"ray": "Ray", "vllm": "vLLM"}[self.package]
        return f"no {name}" if self.is_none else f"{name} {self.label}"


def read_candidates(package: Package, words: Iterable[str], device: str, scratch: Path) -> tuple[Candidate, ...]:
    """Read what an option lists, separated by commas, once each and in its order.

    Raises:
        CandidateError: one is not a version, a wheel or a folder; names the option.
    """
    texts = [text.strip() for word in words for text in word.split(",")]
    try:
        found = [read_candidate(package, text, device, scratch) for text in texts if text]
    except CandidateError as error:
        raise CandidateError(f"--{package}: {error}") from error
    if not found:
        raise CandidateError(f"--{package}: name at least one version, such as 2.60.0")
    return tuple(dict.fromkeys(found))


def read_candidate(package: Package, text: str, device: str, scratch: Path) -> Candidate:
    """Read a version, or the path of a wheel or folder.

    Args:
        package: what it is to be.
        text: as a user wrote it.
        device: ``cpu`` or ``cuda``: they have other distributions.
        scratch: where a folder with an unpacked wheel is packed again.

    Raises:
        CandidateError: it is none of these.
    """
    if text == NONE:
        if package == "ray":
            raise CandidateError("'none' goes with --vllm only: what runs without Ray is its control")
        return Candidate(package, NONE, "", None, released=False)
    path = Path(os.path.expanduser(text))
    if path.is_dir():
        return _folder(package, path.resolve(), scratch)
    if text.endswith(".whl"):
        return _wheel(package, path.resolve())
    if "/" in text:
        raise CandidateError(f"there is no {text}: write a version, or the path of a wheel or a folder")
    try:
        version = str(Version(text))
    except InvalidVersion as error:
        raise CandidateError(
            f"{text!r} is not a version: write one such as 2.60.0, or the path of a wheel or a folder"
        ) from error
    return Candidate(package, version, recipe.requirement(package, version, device), version, released=True)


def _wheel(package: Package, path: Path) -> Candidate:
    if not path.is_file():
        raise CandidateError(f"there is no wheel {path}: write a version, or the path of a wheel or a folder")
    try:
        name, version, *_ = parse_wheel_filename(path.name)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise CandidateError(f"{path.name} is not named as a wheel is: {error}") from error
    _check_name(package, name, str(path))
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:8]
    return _local(package, name, str(version), digest, path)


def _folder(package: Package, path: Path, scratch: Path) -> Candidate:
    """Read a folder: what a wheel unpacks to is packed again, and a source tree is built by uv."""
    digest = _digest(path)
    metadata = sorted(path.glob("*.dist-info/METADATA"))
    if metadata:
        headers = HeaderParser().parsestr(metadata[0].read_text("utf-8", "replace"))
        name, version = headers.get("Name", ""), headers.get("Version", "")
        _check_name(package, name, str(path))
        try:
            wheel = repack(path, metadata[0].parent, scratch / digest)
        except ValueError as error:
            raise CandidateError(f"{path}: {error}") from error
        return _local(package, name, version, digest, wheel)
    if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise CandidateError(
            f"{path} is neither an unpacked wheel (it has no *.dist-info) nor a source tree "
            "(it has no pyproject.toml or setup.py)"
        )
    name = recipe.distributions(package)[0]
    return Candidate(
        package, f"{path.name}@{digest}", f"{name}{recipe.extras(package)} @ {path.as_uri()}", None, released=False
    )


def _local(package: Package, name: str, version: str, digest: str, wheel: Path) -> Candidate:
    written = f"{canonicalize_name(name)}{recipe.extras(package)} @ {wheel.as_uri()}"
    return Candidate(package, f"{version}@{digest}", written, version, released=False)


def _check_name(package: Package, name: str, place: str) -> None:
    allowed = recipe.distributions(package)
    if canonicalize_name(name) not in allowed:
        raise CandidateError(f"{place} is a wheel of {name or 'nothing'}, not of {' or '.join(allowed)}")


def _digest(folder: Path) -> str:
    """Tell folders apart by what is in them: names, sizes and times, which costs no reading of gigabytes."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and ".git" not in path.parts:
            status = path.stat()
            digest.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:8]
