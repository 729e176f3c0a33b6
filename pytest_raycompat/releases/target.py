"""The Python and the machine that a wheel is chosen for."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, platform_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pytest_raycompat.releases.model import File, ReleaseError


@dataclass(frozen=True)
class Target:
    """A CPython on a kind of machine."""

    python: tuple[int, int]
    platforms: tuple[str, ...]
    """Tags of wheels, the preferred one first."""

    @classmethod
    def here(cls, python: str | None = None) -> Target:
        """Return this machine, with its Python or with another one, such as ``3.12``.

        Raises:
            ReleaseError: ``python`` is not two numbers.
        """
        if python is None:
            return cls(sys.version_info[:2], tuple(platform_tags()))
        match = re.fullmatch(r"(3)\.(\d+)(?:\.\d+)?", python)
        if match is None:
            raise ReleaseError(f"{python!r} is not a Python version: write one such as 3.11")
        return cls((int(match[1]), int(match[2])), tuple(platform_tags()))

    @property
    def version(self) -> str:
        """The Python's version, such as ``3.12``."""
        return f"{self.python[0]}.{self.python[1]}"

    def __str__(self) -> str:
        return f"Python {self.version}"

    @cached_property
    def ranks(self) -> dict[Tag, int]:
        """The tags that fit, the best one with the lowest number."""
        interpreter = f"cp{self.python[0]}{self.python[1]}"
        tags = [
            *cpython_tags(self.python, platforms=self.platforms),
            *compatible_tags(self.python, interpreter, platforms=self.platforms),
        ]
        return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}

    @cached_property
    def _pythons(self) -> frozenset[tuple[str, str]]:
        return frozenset((tag.interpreter, tag.abi) for tag in self.ranks)

    def choose(self, files: Iterable[File]) -> File | None:
        """Choose the wheel that an installer would take; None where none fits."""
        ranked = [(min(self.ranks[tag] for tag in fitting), file) for file, fitting in self._fitting(files)]
        return min(ranked, key=lambda one: one[0])[1] if ranked else None

    def choose_to_read(self, files: Iterable[File]) -> File | None:
        """Choose a wheel to read Python sources from: one for this Python, of another kind of machine if need be."""
        files = list(files)
        chosen = self.choose(files)
        if chosen is not None:
            return chosen
        wheels = [file for file in files if any((tag.interpreter, tag.abi) in self._pythons for tag in _tags(file))]
        # a build for Linux holds what the others do, and more of vLLM
        return min(wheels, key=lambda file: ("linux" not in file.name, file.name), default=None)

    def _fitting(self, files: Iterable[File]) -> Iterable[tuple[File, list[Tag]]]:
        for file in files:
            if file.requires_python is not None and not self._admitted_by(file.requires_python):
                continue
            fitting = [tag for tag in _tags(file) if tag in self.ranks]
            if fitting:
                yield file, fitting

    def _admitted_by(self, specifier: str) -> bool:
        try:
            # the patch is not known; a newest one keeps '>=3.9.1' open, and '<3.13' knows no patch
            return SpecifierSet(specifier).contains(f"{self.python[0]}.{self.python[1]}.99")
        except InvalidSpecifier:
            return True


def pythons_of(files: Iterable[File]) -> list[str]:
    """List the Pythons that wheels are built for, such as ``3.11``, oldest first; abi3 wheels say ``3.8 and newer``."""
    found = set()
    for file in files:
        for tag in _tags(file):
            match = re.fullmatch(r"cp(\d)(\d+)", tag.interpreter)
            if match is not None:
                found.add((int(match[1]), int(match[2]), tag.abi == "abi3"))
    return [f"{major}.{minor}{' and newer' if newer else ''}" for major, minor, newer in sorted(found)]


def _tags(file: File) -> frozenset[Tag]:
    if not file.is_wheel:
        return frozenset()
    try:
        return parse_wheel_filename(file.name)[3]
    except (InvalidWheelFilename, InvalidVersion):
        return frozenset()


def target_of(python: str) -> Target:
    """Return the Python that ``python`` names, a version or the path of an interpreter.

    Raises:
        ReleaseError: it is neither.
    """
    if python == sys.executable:
        return Target.here()
    try:
        return Target.here(".".join(str(number) for number in Version(python).release[:2]))
    except InvalidVersion:
        pass
    except ReleaseError as error:
        raise ReleaseError(f"--python: {error}") from None
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        asked = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ReleaseError(f"--python: {python!r} is neither a version nor an interpreter: {error}") from error
    return Target.here(asked.stdout.strip())
