from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat import gpu_lease
from pytest_raycompat.gpu_lease import GpuLeases
from pytest_raycompat.gpus import Gpu, Use
from tests.gpu_lease.programs import GPUS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Use]:
    """What each GPU is used for; a test may change it."""
    found = {gpu.uuid: Use(gpu, 139.0, 1.0) for gpu in GPUS}

    def read(gpus: Sequence[Gpu], *, holders: bool = False) -> tuple[Use, ...]:
        return tuple(found[gpu.uuid] for gpu in gpus if gpu.uuid in found)

    monkeypatch.setattr(gpu_lease, "read_use", read)
    return found


@pytest.fixture
def lease(folder: Path, uses: dict[str, Use]) -> Callable[..., GpuLeases]:
    """Make what another process of this user would have: locks of one process shut out each other as well."""

    def make(gpus: Sequence[Gpu] = GPUS, said: list[str] | None = None, **options: Any) -> GpuLeases:
        told = said if said is not None else []
        return GpuLeases(gpus, folder, lambda text, gone, left: told.append(text), **options)

    return make
