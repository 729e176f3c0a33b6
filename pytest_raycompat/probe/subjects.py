"""A Ray or a vLLM that is looked into: its facts, completed from its files when more is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from pytest_raycompat.probe.definitions import Module, define
from pytest_raycompat.probe.facts import Facts, importable, module_of, to_read
from pytest_raycompat.probe.facts import extract as extract_facts
from pytest_raycompat.probe.outline import Outline
from pytest_raycompat.releases.archive import Archive


class Subject:
    """One of the two packages, in one version."""

    def __init__(self, label: str, facts: Facts, archive: Callable[[], Archive]) -> None:
        """Set up.

        Args:
            label: what a user calls it, such as ``Ray 2.35.0``.
            facts: what is known of it; more is added.
            archive: opens its files, which is only done for a definition that is not known yet.
        """
        self.label = label
        self.facts = facts
        self.grown = False
        """Whether definitions came that are worth to be kept."""
        self.resolved: dict[str, Any] = {}
        """What chains stand for that stay in this package, for :class:`pytest_raycompat.probe.resolving.World`."""
        self._open = archive
        self._sources: dict[str, bytes] = {}

    @property
    def package(self) -> str:
        """``ray`` or ``vllm``."""
        return self.facts.package

    @property
    def version(self) -> str | None:
        """Its version; None for a folder that does not say it."""
        return self.facts.version

    @cached_property
    def _archive(self) -> Archive:
        return self._open()

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Path by module; extensions by the name that is before the first dot."""
        found: dict[str, str] = {}
        for path in self.facts.names:
            if path.endswith(".py"):
                found[module_of(path)] = path
        for path in self.facts.names:
            if not path.endswith(".py"):
                folder, _, name = path.rpartition("/")
                found.setdefault(f"{folder}/{name.partition('.')[0]}".replace("/", "."), path)
        return found

    @cached_property
    def _folders(self) -> frozenset[str]:
        parents = {module.rpartition(".")[0] for module in self._modules}
        return frozenset(parents | {parent.rpartition(".")[0] for parent in parents})

    def has(self, module: str) -> bool:
        """Tell whether it has a module or a package."""
        return module in self._modules or module in self._folders

    def path(self, module: str) -> str:
        """Return the file of a module."""
        return self._modules.get(module, module.replace(".", "/"))

    def outline(self, module: str) -> Outline | None:
        """Return what a module does with the other package; None where that is nothing."""
        return self.facts.outlines.get(module)

    def module(self, module: str) -> Module | None:
        """Return what a module defines; None for an extension, and for what cannot be parsed."""
        if module not in self.facts.modules:
            self.facts.modules[module] = self._defined(module)
            self.grown = True
        return self.facts.modules[module]

    def keep(self, sources: dict[str, bytes]) -> None:
        """Hold sources that were read anyway, so that definitions need no further request."""
        self._sources = sources

    def release_sources(self) -> None:
        """Let the sources go."""
        self._sources = {}

    def _defined(self, module: str) -> Module | None:
        path = self._modules.get(module)
        if path is None:
            return Module({})  # a folder without __init__.py
        if not path.endswith(".py"):
            return None
        content = self._sources.get(path) or self._archive.read([path])[path]
        try:
            return define(content.decode("utf-8", "replace"), module, path)
        except (SyntaxError, ValueError, RecursionError):
            return None


def look_through(package: str, version: str | None, archive: Archive, label: str) -> Subject:
    """Read a release for the first time.

    Raises:
        ReleaseError: it cannot be read, or is not what it is said to be.
    """
    all_names = archive.names()
    names = importable(all_names, package)
    chosen = to_read(names, package)
    metadata = [name for name in all_names if name.endswith(".dist-info/METADATA")]
    content = dict(archive.read([*chosen, *metadata]))
    text = content.pop(metadata[0]).decode("utf-8", "replace") if metadata else ""
    for name in metadata[1:]:
        content.pop(name)
    facts = extract_facts(package, version, names, content, text)
    subject = Subject(label, facts, lambda: archive)
    subject.keep(content)
    subject.grown = True
    return subject
