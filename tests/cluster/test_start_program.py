from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)


def test_it_is_ray_s_command_line_without_ray_serve() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "pytest_raycompat.cluster.start_program", "--version"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert importlib.metadata.version("ray") in finished.stdout
    imported = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines()}
    assert "ray.scripts.scripts" in imported
    assert "ray.serve" not in imported  # without which nothing of it can be
