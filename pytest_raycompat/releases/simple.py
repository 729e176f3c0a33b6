"""An index's page of a package: JSON (PEP 691 and 700) or HTML (PEP 503) in, files out."""

from __future__ import annotations

import datetime
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from pytest_raycompat.releases.model import File

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
"""What is asked for: JSON says the upload times, and HTML is what every index has."""


class _JsonFile(msgspec.Struct, rename="kebab"):
    filename: str
    url: str
    hashes: dict[str, str] = {}
    requires_python: str | None = None
    size: int | None = None
    upload_time: datetime.datetime | None = None
    yanked: bool | str = False


class _JsonPage(msgspec.Struct):
    files: list[_JsonFile]


def parse(content: bytes, content_type: str, url: str) -> tuple[File, ...]:
    """Read a page.

    Args:
        content: the page.
        content_type: as the server names it.
        url: where it came from, which the links in it may start from.

    Raises:
        ValueError: it is not such a page.
    """
    if content_type.partition(";")[0].strip().endswith("json"):
        return parse_json(content, url)
    return parse_html(content.decode("utf-8", "replace"), url)


def parse_json(content: bytes, url: str) -> tuple[File, ...]:
    """Read a page in JSON.

    Raises:
        ValueError: it is not such a page.
    """
    try:
        page = msgspec.json.decode(content, type=_JsonPage)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a page of the simple API: {error}") from error
    return tuple(
        File(
            name=one.filename,
            url=urljoin(url, one.url),
            sha256=one.hashes.get("sha256"),
            size=one.size,
            requires_python=one.requires_python or None,
            uploaded=one.upload_time,
            yanked=None if one.yanked is False else ("" if one.yanked is True else one.yanked),
        )
        for one in page.files
    )


def parse_html(text: str, url: str) -> tuple[File, ...]:
    """Read a page in HTML.

    Raises:
        ValueError: there is no link in it, and no sign of being a list of them.
    """
    parser = _Links(url)
    parser.feed(text)
    if not parser.files and "<html" not in text.lower():
        raise ValueError("not a page of the simple API: neither JSON nor HTML")
    return tuple(parser.files)


class _Links(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.base = url
        self.files: list[File] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link."""
        attributes = dict(attrs)
        href = attributes.get("href")
        if href is None:
            return
        if tag == "base":
            self.base = urljoin(self.base, href)
        elif tag == "a":
            self.files.append(_file_of(urljoin(self.base, href), attributes))


def _file_of(link: str, attributes: dict[str, str | None]) -> File:
    url, _, fragment = link.partition("#")
    return File(
        name=unquote(urlsplit(url).path.rpartition("/")[2]),
        url=url,
        sha256=fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None,
        requires_python=attributes.get("data-requires-python") or None,
        yanked=(attributes["data-yanked"] or "") if "data-yanked" in attributes else None,
    )
