from __future__ import annotations

import msgspec
import pytest

from pytest_raycompat.gaps import Conditions
from pytest_raycompat.gaps.matching import CapabilityUnknown
from pytest_raycompat.judgement import Judgement, judge_flow
from pytest_raycompat.recorded import applicable
from pytest_raycompat.records import Verdict
from tests.judging import CONTROL_ERROR, NEW, OLD, RECORDED, make_gap, make_result


def test_a_gap_on_nodes_is_about_runs_on_as_many() -> None:
    gap = make_gap(when=Conditions(nodes=2))
    assert judge_flow(make_result(RECORDED, nodes=2), [gap], OLD).verdict == "known-gap"
    assert judge_flow(make_result(RECORDED, nodes=1), [gap], OLD).verdict == "failed"


LACKING = make_gap(when=Conditions(lacks=("ray.dag.new",)))


def cannot_tell(name: str) -> bool:
    raise CapabilityUnknown(f"{name}: no luck")


@pytest.mark.parametrize(
    ("present", "passing", "failing"), [(False, "gap-closed", "known-gap"), (True, "passed", "failed")]
)
def test_what_ray_has_decides(present: bool, passing: Verdict, failing: Verdict) -> None:
    def capability(name: str) -> bool:
        return present

    assert judge_flow(make_result(), [LACKING], OLD, capability=capability).verdict == passing
    assert judge_flow(make_result(RECORDED), [LACKING], OLD, capability=capability).verdict == failing
    assert bool(applicable([LACKING], make_result(RECORDED), OLD, capability=capability)) is not present


def test_what_cannot_be_told_is_told_and_excuses_nothing() -> None:
    line = "cannot tell whether version-guard applies (gaps/version-guard.toml:7): ray.dag.new: no luck"
    assert judge_flow(make_result(), [LACKING], OLD, capability=cannot_tell) == Judgement("infra", line)
    judgement = judge_flow(make_result(RECORDED), [LACKING], OLD, capability=cannot_tell)
    assert (judgement.verdict, judgement.gap) == ("failed", None)
    assert judgement.reason.splitlines()[-1] == line
    controlled = judge_flow(make_result(RECORDED, control=CONTROL_ERROR), [LACKING], OLD, capability=cannot_tell)
    assert (controlled.verdict, controlled.reason.splitlines()[-1]) == ("control-failed", line)
    assert applicable([LACKING], make_result(RECORDED), OLD, capability=cannot_tell) == []


def test_what_cannot_be_told_does_not_hide_what_can() -> None:
    gaps = [LACKING, make_gap("old-ray")]
    assert judge_flow(make_result(), gaps, OLD, capability=cannot_tell).gap == "old-ray"
    assert judge_flow(make_result(RECORDED), gaps, OLD, capability=cannot_tell).gap == "old-ray"


def test_a_gap_of_another_flow_counts_where_the_test_is_marked_with_it() -> None:
    gap = make_gap(flows=("serve",))
    assert judge_flow(make_result(RECORDED), [gap], OLD).verdict == "failed"
    assert judge_flow(make_result(RECORDED), [gap], OLD, ["version-guard"]).verdict == "known-gap"
    assert judge_flow(make_result(), [gap], OLD, ["version-guard"]).verdict == "gap-closed"


def test_a_mark_does_not_outweigh_the_conditions() -> None:
    assert judge_flow(make_result(RECORDED), [make_gap()], NEW, ["version-guard"]).verdict == "failed"


def test_conditions_see_the_flows_device_and_executor() -> None:
    gap = make_gap(when=Conditions(device="cuda", executor="ray-v2"))
    matching = make_result(device="cuda", parameters={"executor": "ray-v2"})
    assert applicable([gap], matching, OLD) == [gap]
    assert applicable([gap], msgspec.structs.replace(matching, device="cpu"), OLD) == []
    assert applicable([gap], msgspec.structs.replace(matching, parameters={"executor": "ray-v1"}), OLD) == []


def test_a_gap_is_about_a_control_only_if_it_names_its_executor() -> None:
    control = make_result(RECORDED, parameters={"executor": "mp"}, nodes=0)
    assert judge_flow(control, [make_gap()], OLD).verdict == "failed"
    assert judge_flow(control, [make_gap(when=Conditions(executor="mp"))], OLD).verdict == "known-gap"
    assert judge_flow(control, [make_gap()], OLD, ["version-guard"]).verdict == "known-gap"
