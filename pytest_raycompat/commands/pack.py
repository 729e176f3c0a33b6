"""``raycompat pack``: an environment for a host without a network."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_raycompat.commands import CommandError

if TYPE_CHECKING:
    from pytest_raycompat.packing.distributions import Selection
    from pytest_raycompat.packing.making import Job

MIB = 2**20


def add(commands: Any) -> None:
    """Declare the subcommand."""
    pack = commands.add_parser(
        "pack",
        help="pack an environment for a host without a network",
        description="Packs what a host lacks into parts to copy over one by one; unpack.py puts them together there.",
    )
    pack.add_argument("requirements", nargs="+", metavar="REQUIREMENT", help="as for pip, or the path of a wheel")
    pack.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write; must not exist yet")
    pack.add_argument(
        "--have", type=Path, metavar="FILE", help="what 'pip list --format=freeze' prints on the host; default: nothing"
    )
    pack.add_argument("--overlay", type=Path, metavar="DIR", help="a pack that this one goes before: only what differs")
    pack.add_argument("--python-version", default="3.12", metavar="X.Y", help="the host's Python; default: 3.12")
    pack.add_argument(
        "--platform",
        default="x86_64-manylinux_2_35",
        help="the host's processor and glibc, as uv writes them; default: x86_64-manylinux_2_35",
    )
    pack.add_argument("--exclude-newer", metavar="DAY", help="take what the host lacks as it was on this day")
    pack.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="REQUIREMENT",
        help="take this, whatever the others ask of that distribution; may be given more than once",
    )
    pack.add_argument("--part-mib", type=int, default=60, metavar="N", help="size of a part in MiB; default: 60")
    for option, text in (("drop", "leave this out too"), ("keep", "do not leave this out")):
        pack.add_argument(
            f"--{option}", action="append", default=[], metavar="NAME", help=f"{text}: a distribution, or a path in it"
        )
    pack.set_defaults(command=write)


def write(arguments: argparse.Namespace) -> int:
    """Write a pack and say what is in it.

    Raises:
        CommandError: it cannot be made; says why.
    """
    from pytest_raycompat.packing.making import make_pack
    from pytest_raycompat.packing.resolver import ResolverError

    job = read_job(arguments)
    try:
        made = make_pack(job, arguments.out)
    except (ResolverError, OSError) as error:
        raise CommandError(str(error)) from error
    print("\n".join(summary(job, made.selection)))
    print(
        f"packed {len(made.selection.packed)} distributions into {arguments.out}: {made.size / MIB:.1f} MiB, ", end=""
    )
    print("1 part" if made.parts == 1 else f"{made.parts} parts")
    return 0


def read_job(arguments: argparse.Namespace) -> Job:
    """Turn the command line into what is to be done.

    Raises:
        ValueError: an option is wrong, or a file that one names.
    """
    from pytest_raycompat.packing.distributions import read_installed, read_requirement
    from pytest_raycompat.packing.making import Job
    from pytest_raycompat.packing.omissions import Omissions
    from pytest_raycompat.packing.parts import read_manifest
    from pytest_raycompat.packing.resolver import Host

    check(arguments)
    return Job(
        requirements=tuple(read_requirement(word) for word in arguments.requirements),
        host=Host(arguments.python_version, arguments.platform),
        omissions=Omissions.choose(arguments.drop, arguments.keep),
        part_bytes=arguments.part_mib * MIB,
        on_host=read_installed(arguments.have) if arguments.have else {},
        below=read_manifest(arguments.overlay).installed() if arguments.overlay else {},
        exclude_newer=arguments.exclude_newer,
        overrides=tuple(read_requirement(word) for word in arguments.override),
    )


def check(arguments: argparse.Namespace) -> None:
    """Look at what needs no work."""
    if not re.fullmatch(r"3\.\d+", arguments.python_version):
        raise CommandError(f"--python-version: {arguments.python_version!r} is not a version such as 3.12")
    if arguments.part_mib < 1:
        raise CommandError(f"--part-mib: {arguments.part_mib} is not a size: write a number of MiB, 1 or more")
    if arguments.exclude_newer and not re.fullmatch(r"\d{4}-\d\d-\d\d", arguments.exclude_newer):
        raise CommandError(f"--exclude-newer: {arguments.exclude_newer!r} is not a day such as 2026-08-01")
    if arguments.out.exists():
        raise CommandError(f"--out: {arguments.out} exists: name a folder that does not, or remove it")


def summary(job: Job, selection: Selection) -> list[str]:
    """Say what is not packed, and what will hide a version that is there."""
    lines = [f"left out: {pin} ({job.omissions.distributions[pin.name]})" for pin in selection.left_out]
    for pin in selection.packed:
        if pin.name in job.installed:
            lines.append(f"hides {pin.name} {job.installed[pin.name]}: {pin}")
    found = ", ".join(str(pin) for pin in selection.installed)
    return [*lines, f"not packed, being there: {found or 'nothing'}"]
