from __future__ import annotations

from pytest_raycompat.gaps import builtin_gaps
from suites.workarounds.test_workarounds import CASES


def test_every_workaround_with_variables_is_tried_by_the_suites() -> None:
    recorded = {gap.id: gap for gap in builtin_gaps() if gap.workaround is not None and gap.workaround.env}
    assert CASES.keys() == recorded.keys()
    assert {name: flow for name, (flow, _) in CASES.items() if flow not in recorded[name].flows} == {}
