"""Tiny wheels and package indexes for the tests of what builds environments: real files, read by the real uv."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    requires: Iterable[str] = (),
    tag: str = "py3-none-any",
    contents: Iterable[str] = (),
) -> Path:
    """Write a wheel with nothing in it but what it says of itself, and ``contents``, which are empty files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = name.replace("-", "_")
    information = f"{written}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    files = {
        **dict.fromkeys(contents, ""),
        f"{information}/METADATA": "\n".join(metadata) + "\n",
        f"{information}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{file},,\n" for file in files) + f"{information}/RECORD,,\n"
    path = folder / f"{written}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{information}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def install_wheel(wheel: Path, site: Path) -> None:
    """Unpack a wheel into a folder for Python's path."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


def make_index(folder: Path, wheels: Iterable[Path]) -> str:
    """Write an index of ``wheels`` as folders of pages, and return its address."""
    found: dict[str, list[Path]] = {}
    for wheel in wheels:
        found.setdefault(wheel.name.partition("-")[0].replace("_", "-"), []).append(wheel)
    for name, files in found.items():
        page = folder / name / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text("".join(f'<a href="{file.as_uri()}">{file.name}</a>\n' for file in files))
    return folder.as_uri()


@contextmanager
def serve_index(dates: Mapping[Path, str]) -> Iterator[str]:
    """Serve wheels as an index that says on which day each came, and give its address."""
    files = {wheel.name: wheel for wheel in dates}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            last = self.path.strip("/").rpartition("/")[2]
            if last in files:
                self.answer(files[last].read_bytes(), "application/octet-stream")
                return
            listed = [
                {
                    "filename": wheel.name,
                    "url": f"/files/{wheel.name}",
                    "hashes": {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()},
                    "upload-time": f"{day}T00:00:00Z",
                }
                for wheel, day in dates.items()
                if wheel.name.partition("-")[0].replace("_", "-") == last
            ]
            page = {"meta": {"api-version": "1.1"}, "name": last, "files": listed, "versions": []}
            if listed:
                self.answer(json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json")
            else:
                self.send_error(404)

        def do_HEAD(self) -> None:
            self.send_error(405)

        def answer(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
