"""Which package index this machine is set up with: pip's and uv's variables, and pip's files."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_raycompat.releases.model import ReleaseError

PYPI = "https://pypi.org/simple"


@dataclass(frozen=True)
class Configuration:
    """Where packages come from."""

    indexes: tuple[str, ...]
    """Addresses without a slash at the end; the first is asked first, and a file that several have is taken from it."""
    certificates: str | None = None
    """A file of certificates to trust instead of the usual ones."""


def read(environment: Mapping[str, str] = os.environ, *, files: tuple[Path, ...] | None = None) -> Configuration:
    """Read what this machine is set up with.

    A variable wins over pip's files, and uv's variable over pip's: where both are set, uv builds environments.

    Args:
        environment: variables, as of this process.
        files: pip's files, the one that wins last; by default where pip looks.

    Raises:
        ReleaseError: a file of pip's cannot be read.
    """
    settings = dict(_file_settings(_pip_files(environment) if files is None else files))
    default = (
        environment.get("UV_DEFAULT_INDEX")
        or environment.get("UV_INDEX_URL")
        or environment.get("PIP_INDEX_URL")
        or settings.get("index-url")
        or PYPI
    )
    further = [
        *environment.get("UV_INDEX", "").split(),
        *environment.get("UV_EXTRA_INDEX_URL", "").split(),
        *environment.get("PIP_EXTRA_INDEX_URL", settings.get("extra-index-url", "")).split(),
    ]
    certificates = environment.get("PIP_CERT") or settings.get("cert") or environment.get("SSL_CERT_FILE") or None
    indexes = dict.fromkeys(_address(text) for text in (default, *further))
    return Configuration(tuple(indexes), certificates)


def _address(text: str) -> str:
    # uv takes NAME=URL too
    name, sign, url = text.strip().partition("=")
    return (url if sign and "/" not in name else text.strip()).rstrip("/")


def _pip_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """List where pip looks, the file that wins last; see https://pip.pypa.io/en/stable/topics/configuration/."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return ()
    home = Path(environment.get("HOME", "/"))
    shared = [Path(one) / "pip" / "pip.conf" for one in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    own = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    return (
        *shared,
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        own / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
        *([Path(named)] if named else []),
    )


def _file_settings(files: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    parsers = [_parsed(path) for path in files]
    for section in ("global", "install"):  # what is said for one command wins
        for parser in parsers:
            if parser.has_section(section):
                yield from ((key.replace("_", "-"), value) for key, value in parser.items(section))


def _parsed(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")  # one that is missing or may not be read is passed over, as by pip
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ReleaseError(f"{path}: not a configuration file of pip: {str(error).splitlines()[0]}") from error
    return parser
