"""Asks the package index which releases there are; what it said is kept, so that a second question is quick."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytest_raycompat.releases import configuration, simple
from pytest_raycompat.releases.cache import Cache, cache_folder
from pytest_raycompat.releases.model import File, Release, ReleaseError, group
from pytest_raycompat.releases.transport import Transport, Unreachable, readable

FRESH_S = 3600.0
"""For how long an index is not asked again about a package, in seconds."""


class _Listing(msgspec.Struct):
    """A page of an index as it was at a time."""

    asked: float
    files: tuple[File, ...] | None
    """None where the index does not have the package."""


class Index:
    """The indexes that pip or uv is set up with, as one; a context manager that closes its connections at the end."""

    def __init__(
        self,
        settings: configuration.Configuration | None = None,
        *,
        cache: Cache | None = None,
        warn: Callable[[str], None] = print,
        refresh: bool = False,
    ) -> None:
        """Set up, without asking anything yet.

        Args:
            settings: which indexes; default: as this machine is set up.
            cache: where answers are kept; default: :func:`~pytest_raycompat.releases.cache.cache_folder`.
            warn: told what a user should know and what does not keep this from going on.
            refresh: ask anew, however young the last answer is.

        Raises:
            ReleaseError: a configuration file of pip cannot be read.
        """
        self._settings = configuration.read() if settings is None else settings
        self._cache = Cache(cache_folder(), warn=warn) if cache is None else cache
        self._warn = warn
        self._refresh = refresh
        self._known: dict[str, tuple[Release, ...]] = {}
        self.transport = Transport(self._settings.certificates)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def releases(self, package: str) -> tuple[Release, ...]:
        """List the releases of a package, oldest version first, with those that are yanked or before a final one.

        Raises:
            ReleaseError: no index has the package, none can be reached, or what one says is not understood.
        """
        name = canonicalize_name(package)
        if name not in self._known:
            self._known[name] = self._merged(name)
        return self._known[name]

    def release(self, package: str, version: str) -> Release:
        """Find one release.

        Raises:
            ReleaseError: as for :meth:`releases`, or there is no such release; names the nearest ones.
        """
        try:
            wanted = Version(version)
        except InvalidVersion as error:
            raise ReleaseError(f"{version!r} is not a version of {package}: write one such as 2.60.0") from error
        known = self.releases(package)
        for release in known:
            if release.parsed == wanted:
                return release
        place = bisect.bisect([release.parsed for release in known], wanted)
        near = " and ".join(release.version for release in known[max(0, place - 1) : place + 1])
        raise ReleaseError(f"there is no {package} {version} on {self._names()}: the nearest are {near}")

    def _merged(self, name: str) -> tuple[Release, ...]:
        files: list[File] = []
        found = False
        for address in self._settings.indexes:
            listed = self._listing(address, name)
            found = found or listed is not None
            files.extend(listed or ())
        releases = group(name, files)
        if not found or not releases:
            raise ReleaseError(f"there is no package {name} on {self._names()}")
        return releases

    def _names(self) -> str:
        return ", ".join(readable(address) for address in self._settings.indexes)

    def _listing(self, address: str, name: str) -> tuple[File, ...] | None:
        url = f"{address}/{name}/"
        kept = self._kept(url)
        if kept is not None and not self._refresh and 0 <= time.time() - kept.asked < FRESH_S:
            return kept.files
        try:
            files = self._fetched(url)
        except Unreachable as error:
            if kept is None:
                raise
            age = (time.time() - kept.asked) / 3600
            self._warn(f"{error}; its list of {name} of {age:.0f} hours ago is used")
            return kept.files
        self._cache.put("listings", url, msgspec.msgpack.encode(_Listing(time.time(), files)))
        return files

    def _kept(self, url: str) -> _Listing | None:
        payload = self._cache.get("listings", url)
        if payload is None:
            return None
        try:
            return msgspec.msgpack.decode(payload, type=_Listing)
        except msgspec.MsgspecError:  # of another version of this package
            return None

    def _fetched(self, url: str) -> tuple[File, ...] | None:
        if url.startswith("file:"):
            return _from_folder(url)
        answer = self.transport.page(url)
        if answer is None:
            return None
        try:
            return simple.parse(answer.content, answer.content_type, answer.url)
        except ValueError as error:
            raise ReleaseError(f"{readable(url)}: {error}") from error


def _from_folder(url: str) -> tuple[File, ...] | None:
    """Read the page of an index that is a folder."""
    from urllib.request import url2pathname

    folder = Path(url2pathname(url.removeprefix("file://")))
    if folder.joinpath("index.html").is_file():
        return simple.parse_html(folder.joinpath("index.html").read_text("utf-8", "replace"), url)
    return None
