"""Ray's token authentication, for the clusters of our own and for the processes that connect to them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from pytest_raycompat.versions import satisfies

TOKEN_SINCE = ">=2.52"
"""Ray with token authentication (ray-project/ray#57835)."""
VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def write_token(path: Path) -> Path:
    """Write a new token to ``path``, which only this user can read."""
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def variables_for(ray: str, token: Path) -> dict[str, str]:
    """Return what makes a process of this Ray show the token; nothing for a Ray that has no token authentication."""
    if not satisfies(ray, TOKEN_SINCE):
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


class Shown:
    """The variables, set in this process for as long as the run goes on.

    They must be there before ``import ray``, which reads them once (2.60.0), and tests of the user's own import it
    when they are collected. With them set, a local ``ray.init()`` does not write ``~/.ray/auth_token`` either.
    """

    def __init__(self, environ: MutableMapping[str, str], variables: Mapping[str, str]) -> None:
        self._environ = environ
        self._before = {name: environ.get(name) for name in VARIABLES}
        if variables:
            environ.pop("RAY_AUTH_TOKEN", None)  # it would win over the file
        environ.update(variables)

    def restore(self) -> None:
        """Put the variables back as they were; Ray 2.59 and newer changes ``RAY_AUTH_MODE`` by itself."""
        for name, value in self._before.items():
            if value is None:
                self._environ.pop(name, None)
            else:
                self._environ[name] = value
