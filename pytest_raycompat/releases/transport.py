"""Talks HTTP to an index: pages, parts of files, and what can go wrong on the way, in words."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
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
        client = self._client  # raises where httpx is missing, before it is imported here
        import httpx

        last: Any = None
        for tried in range(TRIES):
            if tried:
                time.sleep(0.25 * 2**tried)
            try:
                response = client.get(url, headers=headers)
            except httpx.InvalidURL as error:
                raise ReleaseError(f"{readable(url)!r} is not an address: {error}") from error
            except httpx.UnsupportedProtocol as error:
                raise ReleaseError(f"{readable(url)!r} is not an address of an index: {error}") from error
            except httpx.HTTPError as error:
                last = str(error) or type(error).__name__
                if isinstance(error, httpx.ConnectError):
                    break  # nobody is there, which half a second does not change
                continue
            if response.status_code in _TRY_AGAIN:
                last = f"it answers {response.status_code}"
                continue
            kind = response.headers.get("content-type", "")
            return Answer(str(response.url), response.status_code, response.content, kind)
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
