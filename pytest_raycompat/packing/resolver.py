"""uv: which distributions an environment consists of, for another machine than this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_raycompat.packing.distributions import Installed, Pin, parse_pin


class ResolverError(Exception):
    """uv is missing, or cannot do what it was asked for; says uv's own reason."""


@dataclass(frozen=True)
class Host:
    """The machine that a pack is for.

    ``python_version`` is such as ``3.12``. ``platform`` is in uv's notation, such as ``x86_64-manylinux_2_35``: the
    processor, and the oldest glibc that its wheels may need.
    """

    python_version: str
    platform: str

    def options(self) -> list[str]:
        """Tell uv. Nothing is built: a build would be for the machine that it is made on."""
        return ["--python-version", self.python_version, "--python-platform", self.platform, "--only-binary", ":all:"]


def find_uv(extra: str = "pack") -> str:
    """Find uv, also where it is installed beside this Python and that environment is not active.

    Args:
        extra: of this package, with which uv comes.

    Raises:
        ResolverError: there is none.
    """
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    found = shutil.which("uv", path=folders)
    if found is None:
        raise ResolverError(f"uv is needed and was not found: pip install 'pytest-raycompat[{extra}]', or install uv")
    return found


def as_of(day: str | None, current: Iterable[str]) -> list[str]:
    """Tell uv to take distributions as they were on a ``day``, but for those that are ``current``."""
    if day is None:
        return []
    return ["--exclude-newer", day, *(f"--exclude-newer-package={name}=false" for name in current)]


def overriding(requirements: Sequence[str], folder: Path) -> list[str]:
    """Tell uv to take ``requirements`` whatever others ask of these distributions; it reads them from a file."""
    if not requirements:
        return []
    path = folder / "overrides.txt"
    path.write_text("".join(f"{requirement}\n" for requirement in requirements))
    return ["--override", str(path)]


def resolve(
    requirements: Sequence[str], host: Host, preferred: Installed, folder: Path, limits: Sequence[str] = ()
) -> list[Pin]:
    """Resolve ``requirements``, with the versions that are ``preferred`` wherever they fit.

    Args:
        requirements: as for pip.
        host: the machine that they are for.
        preferred: what is installed already.
        folder: an empty one, for files of uv's.
        limits: further options of uv, such as those of :func:`as_of`.

    Raises:
        ResolverError: there is no environment that meets them all.
    """
    output = folder / "resolved.txt"
    versions = {name: version.partition("+")[0] for name, version in preferred.items() if version is not None}
    # uv takes what is in its output file for preferred versions
    output.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    call(
        ["pip", "compile", "--quiet", "--no-annotate", "--no-header", *host.options(), *limits, "-o", str(output), "-"],
        given=requirements,
        task="the requirements cannot be met",
    )
    lines = [line.strip() for line in output.read_text().splitlines()]
    return [parse_pin(line, "uv") for line in lines if line and not line.startswith(("#", "-"))]


def install(pins: Iterable[Pin], host: Host, site: Path) -> None:
    """Install exactly ``pins`` into the folder ``site``.

    Raises:
        ResolverError: one cannot be fetched.
    """
    where = ["--python", sys.executable, "--target", str(site)]
    call(
        ["pip", "install", "--quiet", "--no-deps", *host.options(), *where, "--requirements", "-"],
        given=[pin.requirement for pin in pins],
        task="a distribution cannot be fetched",
    )


def call(words: Sequence[str], *, given: Iterable[str], task: str) -> None:
    """Run uv with lines on its standard input."""
    done = subprocess.run(
        [find_uv(), *words],
        input="".join(f"{line}\n" for line in given),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip() or f"uv ended with exit status {done.returncode}"
        raise ResolverError(f"{task}:\n{reason}")
