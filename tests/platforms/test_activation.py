from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_raycompat.platforms import ACTIVATION_VARIABLE, SPARE_VARIABLE

PROGRAM = """
import gc
from pytest_raycompat.platforms import activate
before = gc.get_threshold()
print(activate(), gc.get_threshold() == before, gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "None True False"),
        ({ACTIVATION_VARIABLE: "0"}, "None True False"),
        ({ACTIVATION_VARIABLE: "1"}, "pytest_raycompat.platforms.cpu.RayCpuPlatform False True"),
        ({SPARE_VARIABLE: "1"}, "None False True"),
    ],
)
def test_only_a_process_of_ours_is_changed(variables: dict[str, str], expected: str) -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == expected
