from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_raycompat.platforms import ACTIVATION_VARIABLE

PROGRAM = """
import gc
from pytest_raycompat.platforms import activate
before = gc.get_threshold()
print(activate(), gc.get_threshold() == before, gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None True False"),
        ("0", "None True False"),
        ("1", "pytest_raycompat.platforms.cpu.RayCpuPlatform False True"),
    ],
)
def test_only_a_process_of_ours_is_changed(value: str | None, expected: str) -> None:
    environment = {} if value is None else {ACTIVATION_VARIABLE: value}
    said = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == expected
