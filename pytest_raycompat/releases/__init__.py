"""Releases on the package index that pip or uv is set up with: what there is, and their files.

:class:`~pytest_raycompat.releases.index.Index` lists the releases of a package. It needs httpx, which comes with the
extra ``probe``.
"""

from __future__ import annotations

from pytest_raycompat.releases.model import File as File
from pytest_raycompat.releases.model import Release as Release
from pytest_raycompat.releases.model import ReleaseError as ReleaseError
from pytest_raycompat.releases.target import Target as Target
