from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from pytest_raycompat.probe.facts import OWN
from pytest_raycompat.probe.findings import Finding
from pytest_raycompat.probe.outlining import outline
from pytest_raycompat.probe.resolving import World
from pytest_raycompat.probe.subjects import Subject, look_through
from pytest_raycompat.probe.walking import Walk

TITLES = {"ray": "Ray", "vllm": "vLLM"}


@dataclass(frozen=True)
class Files:
    """A package in memory."""

    content: Mapping[str, str]

    def names(self) -> tuple[str, ...]:
        return tuple(self.content)

    def read(self, names: Iterable[str]) -> Mapping[str, bytes]:
        return {name: textwrap.dedent(self.content[name]).encode() for name in names}


MakeSubject: TypeAlias = Callable[..., Subject]


@pytest.fixture
def make_subject() -> MakeSubject:
    """Make a Ray or a vLLM of a few files; the packages on the way need not be given."""

    def make(package: str, version: str, files: Mapping[str, str], requires: str = "") -> Subject:
        content = {f"{package}/__init__.py": ""}
        for name in files:
            parts = name.split("/")[:-1]
            content |= {"/".join([*parts[:count], "__init__.py"]): "" for count in range(1, len(parts) + 1)}
        content |= files
        content[f"{package}-{version}.dist-info/METADATA"] = f"Name: {package}\nVersion: {version}\n{requires}"
        return look_through(package, version, Files(content), f"{TITLES[package]} {version}")

    return make


WalkProgram: TypeAlias = Callable[..., list[Finding]]


@pytest.fixture
def walk(make_subject: MakeSubject) -> WalkProgram:
    """Walk a program on a made-up pair, and return what was found."""

    def run(
        program: str,
        *,
        ray: Mapping[str, str] | None = None,
        vllm: Mapping[str, str] | None = None,
        versions: tuple[str, str] = ("2.35.0", "0.32.0"),
        settings: Mapping[str, str] | None = None,
    ) -> list[Finding]:
        subjects = {
            "ray": make_subject("ray", versions[0], ray or {}),
            "vllm": make_subject("vllm", versions[1], vllm or {}),
        }
        walked = Walk(World(subjects), dict(settings or {}))
        walked.program(outline(textwrap.dedent(program), "program", "the flow program", OWN))
        return walked.findings

    return run
