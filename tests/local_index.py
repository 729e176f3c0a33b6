"""A package index on the loopback address, of files that a test makes; how it behaves is set by the test."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INSTALLERS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT")
"""Variables of pip and uv that would bring in an index of the machine that runs the tests."""


@dataclass
class LocalIndex:
    """What the server has and how it answers."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By package, then by file name."""
    extras: dict[str, dict[str, object]] = field(default_factory=dict)
    """What else the page says of a file, by its name."""
    json: bool = True
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    """What the next requests are answered with instead."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and range of every request."""
    sent: int = 0
    """Bytes of files."""

    def add(self, package: str, name: str, content: bytes, **extras: object) -> None:
        """Offer a file."""
        self.files.setdefault(package, {})[name] = content
        self.extras[name] = extras

    def page(self, package: str) -> bytes:
        """The page of a package, as :attr:`json` says."""
        if not self.json:
            return "".join(
                ["<!DOCTYPE html><html><body>", *map(self._link, self.files[package]), "</body></html>"]
            ).encode()
        files = [
            {
                "filename": name,
                "url": f"../../files/{name}",
                "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
                "size": len(content),
                **self.extras[name],
            }
            for name, content in self.files[package].items()
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": package, "files": files}).encode()

    def _link(self, name: str) -> str:
        extras = self.extras[name]
        yanked = f' data-yanked="{extras["yanked"]}"' if "yanked" in extras else ""
        python = f' data-requires-python="{extras["requires-python"]}"' if "requires-python" in extras else ""
        return f'<a href="../../files/{name}#sha256=0"{yanked}{python}>{name}</a><br>'

    def content_of(self, name: str) -> bytes | None:
        """A file's content."""
        return next((files[name] for files in self.files.values() if name in files), None)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients hang up on a whole file that they did not ask for."""


@contextmanager
def serving() -> Generator[LocalIndex]:
    """Serve an index."""
    served = LocalIndex()
    server = _Server(("127.0.0.1", 0), _handler(served))
    served.address = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(served: LocalIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append((self.path, wanted))
            if served.statuses:
                self._answer(served.statuses.pop(0), b"", "text/plain")
                return
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "simple" and name in served.files:
                form = "application/vnd.pypi.simple.v1+json" if served.json else "text/html"
                self._answer(200, served.page(name), form)
                return
            content = served.content_of(name) if kind == "files" else None
            if content is None:
                self._answer(404, b"", "text/plain")
                return
            self._file(content, wanted if served.ranges else None)

        def _file(self, content: bytes, wanted: str | None) -> None:
            match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
            if match is None:
                served.sent += len(content)
                self._answer(200, content, "application/zip")
                return
            if match[1]:
                start, end = int(match[1]), min(int(match[2] or len(content)) + 1, len(content))
            else:
                start, end = max(0, len(content) - int(match[2])), len(content)
            part = content[start:end]
            served.sent += len(part)
            headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
            self._answer(206, part, "application/zip", headers)

        def _answer(self, status: int, content: bytes, kind: str, headers: Mapping[str, str] = {}) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def wheel_of(name: str, version: str, files: Mapping[str, str | bytes], metadata: str = "") -> bytes:
    """Make the bytes of a wheel from its files."""
    stream = io.BytesIO()
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
    return stream.getvalue()
