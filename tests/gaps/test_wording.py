from __future__ import annotations

from pytest_raycompat.gaps.matching import Comparison
from pytest_raycompat.gaps.wording import side_by_side


def test_recorded_and_found_stand_side_by_side() -> None:
    lines = side_by_side(
        [
            Comparison("phase", "generate", "generate", True),
            Comparison("raises", "ValueError", "vllm.v1.engine.exceptions.EngineDeadError", False),
            Comparison("message", r"Ray version 2\.43\.0 is required, but found 2\.\d+", "'see above'", False),
        ]
    )
    assert lines == [
        "           recorded                         found",
        "  phase    generate                         generate",
        "! raises   ValueError                       vllm.v1.engine.exceptions.",
        "                                            EngineDeadError",
        r"! message  Ray version 2\.43\.0 is          'see above'",
        r"           required, but found 2\.\d+",
    ]


def test_it_fits_a_terminal_of_80_columns_whatever_is_in_it() -> None:
    for text in ("word " * 100, "x" * 1000, "a.b" * 300, "one\ntwo\nthree", ""):
        lines = side_by_side([Comparison("message", text, text, False)])
        assert max(len(line) for line in lines) <= 78
        assert len(lines) <= 7


def test_long_texts_are_cut_with_a_sign() -> None:
    assert side_by_side([Comparison("message", "short", "word " * 100, False)])[-1].endswith("  …")
