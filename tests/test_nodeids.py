from __future__ import annotations

import pytest

from pytest_raycompat.nodeids import name_of, own_part, sharing


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


def test_the_name_of_a_test() -> None:
    assert name_of("a/test_a.py::TestIt::test_one[x::y]") == "test_one"
    assert name_of("test_one") == "test_one"
    assert own_part("a/test_a.py::TestIt::test_one[x::y]") == "test_one[x::y]"
