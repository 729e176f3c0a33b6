"""Talks HTTP to an index: pages, parts of files, and what can go wrong on the way, in words."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from pytest_raycompat.releases import simple
from pytest_raycompat.releases.model import ReleaseError

if TYPE_CHECKING:
    import httpx

NEEDS_HTTPX = "asking a package index needs httpx: pip install 'pytest-raycompat[probe]'"
CONNECT_S = 10.0
READ_S = 30.0
TRIES = 3
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})


class Unreachable(ReleaseError):
    """An index does not answer."""


@dataclass(frozen=True)
class Answer:
    """What a server sent."""

    url: str
    """Where it came from in the end."""
    status: int
    content: bytes
    content_type: str


class Part(NamedTuple):
    """A part of a file."""

    content: bytes
    size: int
    """Of the whole file, in bytes."""


class Transport:
    """One connection to each server, opened when it is first needed."""

    def __init__(self, certificates: str | None = None) -> None:
        self._certificates = certificates

    @cached_property
    def _client(self) -> httpx.Client:
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise ReleaseError(NEEDS_HTTPX) from error
        from pytest_raycompat import __version__

        return httpx.Client(
            follow_redirects=True,
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            verify=self._verify(),
            headers={"User-Agent": f"pytest-raycompat/{__version__}"},
        )

    def _verify(self) -> ssl.SSLContext | bool:
        if self._certificates is None:
            return True
        try:
            return ssl.create_default_context(cafile=self._certificates)
        except OSError as error:
            raise ReleaseError(f"{self._certificates}: no certificates can be read from it ({error})") from error

    def page(self, url: str) -> Answer | None:
        """Fetch a page of the simple API; None where there is no such page.

        Raises:
            Unreachable: the server does not answer, or only with errors of its own.
            ReleaseError: it refuses, or httpx is missing.
        """
        answer = self.get(url, {"Accept": simple.ACCEPT})
        if answer.status in (404, 410):
            return None
        if answer.status != 200:
            raise ReleaseError(f"{readable(url)} answers {answer.status}{_advice(answer.status)}")
        return answer

    def get(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        """Fetch what is at an address, whatever the status.

        Raises:
            Unreachable: the server does not answer.
            ReleaseError: httpx is missing.
        """
        with self._answered(url, headers or {}) as response:
            kind = response.headers.get("content-type", "")
            return Answer(str(response.url), response.status_code, response.read(), kind)

    def part(self, url: str, wanted: str) -> Part | None:
        """Fetch a part of a file; None where the server has no ranges.

        Args:
            url: where the file is.
            wanted: as in the header ``Range``, such as ``0-99`` or ``-100`` for the last hundred bytes.

        Raises:
            Unreachable: the server does not answer.
            ReleaseError: it refuses.
        """
        with self._answered(url, {"Range": f"bytes={wanted}", "Accept-Encoding": "identity"}) as response:
            if response.status_code == 200:
                return None  # the whole file, which is not read on
            size = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("content-range", ""))
            if response.status_code == 416 or (response.status_code == 206 and size is None):
                return None  # some servers know ranges from the start only
            if response.status_code != 206 or size is None:
                raise ReleaseError(f"{readable(url)} answers {response.status_code}{_advice(response.status_code)}")
            return Part(response.read(), int(size[1]))

    def whole(self, url: str, path: Path) -> None:
        """Write a file to ``path``.

        Raises:
            Unreachable: the server does not answer, or stops on the way.
            ReleaseError: it refuses.
        """
        with self._answered(url, {"Accept-Encoding": "identity"}) as response, path.open("wb") as stream:
            if response.status_code != 200:
                raise ReleaseError(f"{readable(url)} answers {response.status_code}{_advice(response.status_code)}")
            for piece in response.iter_bytes(1 << 20):
                stream.write(piece)

    @contextmanager
    def _answered(self, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Wait for the answer's head; an error while its body is read says that the server cannot be reached."""
        response = self._sent(url, headers)
        import httpx

        try:
            yield response
        except httpx.HTTPError as error:
            raise Unreachable(f"{_server(url)} stopped answering ({error or type(error).__name__})") from error
        finally:
            response.close()

    def _sent(self, url: str, headers: dict[str, str]) -> httpx.Response:
        client = self._client  # raises where httpx is missing, before it is imported here
        import httpx

        last = ""
        for tried in range(TRIES):
            if tried:
                time.sleep(0.25 * 2**tried)
            try:
                response = client.send(client.build_request("GET", url, headers=headers), stream=True)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise ReleaseError(f"{readable(url)!r} is not the address of an index: {error}") from error
            except httpx.HTTPError as error:
                last = str(error) or type(error).__name__
                if isinstance(error, httpx.ConnectError):
                    break  # nobody is there, which half a second does not change
                continue
            if response.status_code not in _TRY_AGAIN:
                return response
            last = f"it answers {response.status_code}"
            response.close()
        raise Unreachable(f"{_server(url)} cannot be reached ({last}): is there a network, or another index to set?")

    def close(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            self._client.close()


def readable(url: str) -> str:
    """Return an address without the password in it."""
    parts = urlsplit(url)
    if parts.password is None and parts.username is None:
        return url
    return urlunsplit(parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}"))


def _server(url: str) -> str:
    parts = urlsplit(readable(url))
    return f"{parts.scheme}://{parts.netloc}"


def _advice(status: int) -> str:
    if status in (401, 403):
        return ": it wants a name and a password, which the address of the index can have (https://NAME:PASSWORD@…)"
    return ""
