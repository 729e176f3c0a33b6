from __future__ import annotations

import pytest

from pytest_raycompat.distribution import sharing


@pytest.mark.parametrize(
    ("nodeid", "shared"),
    [
        ("a/test_a.py::TestIt::test_one[2-ray]", "a/test_a.py::TestIt[2-ray]"),
        ("a/test_a.py::TestIt::test_two[2-ray]", "a/test_a.py::TestIt[2-ray]"),
        ("a/test_a.py::TestIt::test_two[1-ray]", "a/test_a.py::TestIt[1-ray]"),
        ("a/test_a.py::test_one", "a/test_a.py"),
        ("a/test_a.py::test_one[x::y]", "a/test_a.py[x::y]"),
    ],
)
def test_what_tests_share(nodeid: str, shared: str) -> None:
    assert sharing(nodeid) == shared
