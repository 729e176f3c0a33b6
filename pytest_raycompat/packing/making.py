"""Makes a pack: resolve, divide, fetch, trim, cut."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_raycompat.packing.distributions import Installed, Selection, select
from pytest_raycompat.packing.needs import read_needs
from pytest_raycompat.packing.omissions import Omissions
from pytest_raycompat.packing.parts import Manifest, PackError, trim, write_pack
from pytest_raycompat.packing.resolver import Host, as_of, install, overriding, resolve


@dataclass(frozen=True)
class Job:
    """What to pack, and for which host.

    ``on_host`` is what the host has itself, ``below`` what a pack brings that this one goes before. ``part_bytes`` is
    the most that a part may have. ``exclude_newer`` is a day, such as ``2026-08-01``, or None. ``overrides`` are
    requirements that hold whatever others ask.
    """

    requirements: tuple[str, ...]
    host: Host
    omissions: Omissions
    part_bytes: int
    on_host: Installed = field(default_factory=dict)
    below: Installed = field(default_factory=dict)
    exclude_newer: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def installed(self) -> Installed:
        """What Python will find without this pack."""
        return {**self.on_host, **self.below}

    def manifest(self, selection: Selection, site: Path) -> Manifest:
        """Write down how the environment was divided; what is packed of it is in the folder ``site``."""
        reasons: Mapping[str, str] = self.omissions.distributions
        expected = {pin.name: pin.version for pin in selection.installed if pin.name not in self.below}
        return Manifest(
            python_version=self.host.python_version,
            platform=self.host.platform,
            requirements=self.requirements,
            packed=tuple(pin.requirement for pin in selection.packed),
            expected=expected,
            needed=read_needs(site, frozenset(expected), self.host),
            left_out={str(pin): reasons[pin.name] for pin in selection.left_out},
        )


@dataclass(frozen=True)
class Made:
    """A pack that was written; ``size`` is that of all its parts, in bytes."""

    selection: Selection
    parts: int
    size: int


def make_pack(job: Job, out: Path) -> Made:
    """Write a pack; its folder appears when all is in it.

    Raises:
        PackError: there is nothing to pack.
        ResolverError: the requirements cannot be met or fetched.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    # beside the pack: there has to be room for its parts there, and often there is little in the temporary folder
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
        scratch, folder = Path(name), Path(name, "pack")
        folder.mkdir()
        limits = [*as_of(job.exclude_newer, job.on_host), *overriding(job.overrides, scratch)]
        pins = resolve(job.requirements, job.host, job.installed, scratch, limits)
        selection = select(pins, job.installed, job.omissions.distributions)
        if not selection.packed:
            raise PackError("there is nothing to pack: the host has all that is required")
        install(selection.packed, job.host, scratch / "site")
        manifest = job.manifest(selection, scratch / "site")
        trim(scratch / "site", job.omissions.paths)
        parts = write_pack(scratch / "site", folder, job.part_bytes, manifest)
        size = sum(part.stat().st_size for part in parts)
        os.rename(folder, out)
    return Made(selection, len(parts), size)
