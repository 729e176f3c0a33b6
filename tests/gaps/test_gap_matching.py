from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from pytest_raycompat.gaps import Conditions, applies, builtin_gaps, mismatches, nearest
from pytest_raycompat.records import Environment, ExceptionRecord, Failure
from tests.gaps.making import make_gap

ENVIRONMENT = Environment(
    executable="/usr/bin/python3",
    python="3.11.7",
    platform="Linux",
    ray="2.35.0+corp.3",
    vllm="0.32.1.dev7+g0123abc",
    torch="2.7.1+cu126",
)


def make_failure(
    *chain: tuple[str, str],
    outcome: Literal["error", "crash", "timeout"] = "error",
    phase: str = "start",
    detail: str = "",
) -> Failure:
    records = tuple(ExceptionRecord(type=type, message=message) for type, message in chain)
    return Failure(outcome=outcome, phase=phase, chain=records, detail=detail)


def holds(when: Conditions, **changes: Any) -> bool:
    arguments: dict[str, Any] = {
        "flow": "generate",
        "parameters": {"executor": "ray-v1"},
        "environment": ENVIRONMENT,
        "device": "cpu",
    }
    return applies(make_gap(when=when), **(arguments | changes))


def never(name: str) -> bool:
    raise AssertionError(f"{name} was asked about")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (Conditions(ray="==2.35.0"), True),
        (Conditions(ray=">=2.43"), False),
        (Conditions(vllm="==0.32.1"), True),
        (Conditions(vllm="<0.32.1"), False),
        (Conditions(torch="==2.7.1"), True),
        (Conditions(torch="<2.7.1"), False),
        (Conditions(python=">=3.11"), True),
        (Conditions(python=">=3.12"), False),
        (Conditions(device="cpu"), True),
        (Conditions(device="cuda"), False),
        (Conditions(executor="ray-v1"), True),
        (Conditions(executor="ray-v2"), False),
        (Conditions(ray="==2.35.0", vllm="==0.32.1", device="cpu", executor="ray-v1"), True),
        (Conditions(ray="==2.35.0", vllm="<0.32.1"), False),
    ],
    ids=str,
)
def test_every_condition_must_hold(when: Conditions, expected: bool) -> None:
    assert holds(when) is expected


def test_a_gap_applies_to_its_flows_only() -> None:
    assert holds(Conditions(ray="<2.43"), flow="serve") is False


def test_a_vllm_without_the_executor_has_none_of_its_gaps() -> None:
    newer = msgspec.structs.replace(ENVIRONMENT, vllm="0.33.0")
    assert holds(Conditions(executor="ray-v1"), environment=newer) is False
    assert holds(Conditions(executor="mp"), parameters={"executor": "mp"}, environment=newer) is True


def test_a_run_without_an_executor_does_not_meet_a_condition_on_it() -> None:
    assert holds(Conditions(executor="ray-v1"), parameters={}) is False


@pytest.mark.parametrize("when", [Conditions(ray=">=0"), Conditions(vllm=">=0"), Conditions(torch=">=0")], ids=str)
def test_a_condition_on_a_missing_package_does_not_hold(when: Conditions) -> None:
    bare = Environment(executable="/usr/bin/python3", python="3.11.7", platform="Linux")
    assert holds(when, environment=bare) is False


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({"way": "colocate", "engines": 2}, True), ({"way": "colocate"}, False), ({"way": "rpc", "engines": 2}, False)],
)
def test_a_gap_may_name_parameters_of_its_flow(parameters: dict[str, Any], expected: bool) -> None:
    assert holds(Conditions(parameters={"way": "colocate", "engines": 2}), parameters=parameters) is expected


def test_a_version_that_cannot_be_compared_is_an_error() -> None:
    fork = Environment(executable="/usr/bin/python3", python="3.11.7", platform="Linux", ray="corp-2.35")
    with pytest.raises(ValueError, match=r"^'corp-2\.35' is not a PEP 440 version$"):
        holds(Conditions(ray="<2.43"), environment=fork)


@pytest.mark.parametrize(
    ("present", "expected"),
    [({"a", "b"}, False), ({"a"}, True), ({"b"}, True), (set(), True)],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_a_gap_of_missing_capabilities_applies_where_one_is_missing(present: set[str], expected: bool) -> None:
    assert holds(Conditions(lacks=("a", "b")), capability=present.__contains__) is expected


def test_a_gap_of_missing_capabilities_does_not_apply_where_they_are_unknown() -> None:
    assert holds(Conditions(lacks=("a",))) is False


@pytest.mark.parametrize("ray", ["<2.43", ">=2.43"])
@pytest.mark.parametrize("present", [True, False])
def test_where_both_are_given_what_ray_lacks_decides_and_its_version_does_not(ray: str, present: bool) -> None:
    """A fork that has the feature earlier is not excused, and one that has lost it is."""
    assert holds(Conditions(ray=ray, lacks=("a",)), capability=lambda _: present) is not present
    assert holds(Conditions(ray=ray, lacks=("a",), decides="lacks"), capability=lambda _: present) is not present


@pytest.mark.parametrize(("ray", "expected"), [("<2.43", True), (">=2.43", False)])
def test_where_versions_decide_nothing_is_asked(ray: str, expected: bool) -> None:
    assert holds(Conditions(ray=ray, lacks=("a",), decides="versions"), capability=never) is expected


@pytest.mark.parametrize("when", [Conditions(vllm="<0.32", lacks=("a",)), Conditions(executor="mp", lacks=("a",))])
def test_missing_capabilities_do_not_outweigh_the_other_conditions(when: Conditions) -> None:
    assert holds(when, capability=never) is False


def test_without_ray_nothing_is_lacking() -> None:
    bare = Environment(executable="/usr/bin/python3", python="3.11.7", platform="Linux")
    assert holds(Conditions(lacks=("a",)), environment=bare, capability=never) is False


@pytest.mark.parametrize(("nodes", "expected"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_condition_on_nodes_is_a_least_number(nodes: int, expected: bool) -> None:
    assert holds(Conditions(nodes=2), nodes=nodes) is expected


@pytest.mark.parametrize(("head_gpus", "expected"), [(None, False), (0, True), (1, False)])
def test_a_condition_on_the_head_is_an_exact_number(head_gpus: int | None, expected: bool) -> None:
    assert holds(Conditions(head_gpus=0), head_gpus=head_gpus) is expected


def test_capabilities_do_not_matter_to_a_gap_without_them() -> None:
    assert holds(Conditions(ray="<2.43"), capability=lambda _: True) is True


def test_the_recorded_failure_matches() -> None:
    assert mismatches(make_gap(), make_failure(("ValueError", "it needs 3 of them here"))) == ()


def test_any_exception_of_the_chain_may_match() -> None:
    failure = make_failure(
        ("KeyError", "'x'"), ("ValueError", "needs 3 of them"), ("ray.exceptions.RayTaskError", "failed")
    )
    assert mismatches(make_gap(), failure) == ()


def test_each_exception_of_the_type_is_looked_at() -> None:
    assert mismatches(make_gap(), make_failure(("ValueError", "no"), ("ValueError", "needs 3 of them"))) == ()


def test_a_gap_without_phase_and_message_leaves_them_open() -> None:
    assert mismatches(make_gap(phase=None, message=None), make_failure(("ValueError", "no"), phase="generate")) == ()


def test_another_outcome_differs() -> None:
    failure = make_failure(("ValueError", "needs 3 of them"), outcome="crash")
    assert mismatches(make_gap(), failure) == ("outcome: recorded error, found crash",)


def test_another_phase_differs() -> None:
    failure = make_failure(("ValueError", "needs 3 of them"), phase="generate")
    assert mismatches(make_gap(), failure) == ("phase: recorded start, found generate",)


@pytest.mark.parametrize("found", ["TypeError", "corp.ValueError", "ValueErrors"])
def test_another_type_differs(found: str) -> None:
    assert mismatches(make_gap(), make_failure((found, "needs 3 of them"))) == (
        f"raises: recorded ValueError, found {found}",
    )


@pytest.mark.parametrize("found", ["RayTaskError", "corp.ray.exceptions.RayTaskError", "ray.exceptions.RayError"])
def test_a_dotted_name_must_be_equal(found: str) -> None:
    gap = make_gap(raises="ray.exceptions.RayTaskError")
    assert mismatches(gap, make_failure((found, "needs 3 of them"))) == (
        f"raises: recorded ray.exceptions.RayTaskError, found {found}",
    )


def test_all_types_of_the_chain_are_named() -> None:
    failure = make_failure(("KeyError", "needs 3 of them"), ("TypeError", "no"))
    assert mismatches(make_gap(), failure) == ("raises: recorded ValueError, found KeyError, TypeError",)


def test_another_message_differs() -> None:
    assert mismatches(make_gap(), make_failure(("ValueError", "needs some"))) == (
        r"message: recorded needs \d+ of them, found 'needs some'",
    )


def test_the_message_must_be_that_of_an_exception_of_the_type() -> None:
    failure = make_failure(("KeyError", "needs 3 of them"), ("ValueError", "no"))
    assert mismatches(make_gap(), failure) == (r"message: recorded needs \d+ of them, found 'no'",)


def test_a_failure_without_exceptions_differs_in_all() -> None:
    assert mismatches(make_gap(), make_failure(outcome="timeout", phase="stop")) == (
        "outcome: recorded error, found timeout",
        "phase: recorded start, found stop",
        "raises: recorded ValueError, found no exception",
        r"message: recorded needs \d+ of them, found no message",
    )


def test_a_long_message_is_shortened() -> None:
    (difference,) = mismatches(make_gap(), make_failure(("ValueError", "x" * 201)))
    assert difference == rf"message: recorded needs \d+ of them, found '{'x' * 200}…'"
    (difference,) = mismatches(make_gap(), make_failure(("ValueError", "x" * 200)))
    assert difference == rf"message: recorded needs \d+ of them, found '{'x' * 200}'"


def test_a_crash_is_recognised_by_what_was_last_seen() -> None:
    gap = make_gap(outcome="crash", raises=None, message="SIGSEGV")
    assert mismatches(gap, make_failure(outcome="crash", detail="killed by SIGSEGV")) == ()
    assert mismatches(gap, make_failure(outcome="crash", detail="killed by SIGKILL")) == (
        "message: recorded SIGSEGV, found 'killed by SIGKILL'",
    )
    assert mismatches(gap, make_failure(outcome="crash")) == ("message: recorded SIGSEGV, found no message",)


def test_what_was_last_seen_is_not_a_message_of_a_recorded_exception() -> None:
    failure = make_failure(("ValueError", "no"), detail="needs 3 of them")
    assert mismatches(make_gap(), failure) == (r"message: recorded needs \d+ of them, found 'no'",)


def test_the_nearest_gap_has_the_fewest_differences() -> None:
    far = make_gap("far", phase="import", message="other")
    near = make_gap("near", phase="import")
    failure = make_failure(("ValueError", "needs 3 of them"))
    assert nearest([far, near], failure) == (near, ("phase: recorded import, found start",))


def test_where_two_are_as_near_the_message_decides() -> None:
    same_type = make_gap("same-type", message="other")
    same_message = make_gap("same-message", raises="KeyError")
    failure = make_failure(("ValueError", "needs 3 of them"))
    assert nearest([same_type, same_message], failure) == (
        same_message,
        ("raises: recorded KeyError, found ValueError",),
    )


def test_of_equally_near_gaps_the_first_is_taken() -> None:
    first, second = make_gap("first"), make_gap("second")
    failure = make_failure(("ValueError", "no"))
    assert nearest(iter([first, second]), failure) == (first, (r"message: recorded needs \d+ of them, found 'no'",))


def test_a_gap_that_shares_only_outcome_and_phase_is_not_near() -> None:
    assert nearest([make_gap()], make_failure(("TypeError", "no"))) is None


def test_a_gap_that_records_no_exception_is_not_near_any_exception() -> None:
    gap = make_gap(raises=None, message=None, outcome="crash")
    assert nearest([gap], make_failure(("TypeError", "no"))) is None


def test_no_gap_is_near_where_there_is_none() -> None:
    assert nearest([], make_failure(("ValueError", "no"))) is None


@pytest.mark.parametrize(
    ("ray", "vllm", "executor", "expected"),
    [
        ("2.35.0", "0.32.0", "ray-v1", ["cgraph-version-guard"]),
        ("2.42.1+corp.3", "0.11.0", "ray-v1", ["cgraph-version-guard"]),
        ("2.42.1+corp.3", "0.8.5.post1", "ray-v1", ["cgraph-version-guard-vllm-010"]),
        ("2.35.0", "0.10.0", "ray-v0", []),
        ("2.43.0", "0.32.0", "ray-v1", []),
        ("2.43.0rc1", "0.32.0", "ray-v1", []),
        ("2.35.0", "0.32.0", "ray-v2", []),
        ("2.35.0", "0.7.2", "ray-v1", []),
    ],
)
def test_where_the_compiled_graph_guard_applies(ray: str, vllm: str, executor: str, expected: list[str]) -> None:
    ids = ("cgraph-version-guard", "cgraph-version-guard-vllm-010")
    environment = Environment(executable="/usr/bin/python3", python="3.11.7", platform="Linux", ray=ray, vllm=vllm)
    parameters = {"executor": executor}
    found = [
        gap.id
        for gap in builtin_gaps()
        if gap.id in ids and applies(gap, flow="generate", parameters=parameters, environment=environment, device="cpu")
    ]
    assert found == expected


def test_what_the_compiled_graph_guard_shows_as() -> None:
    (gap,) = (gap for gap in builtin_gaps() if gap.id == "cgraph-version-guard")
    message = "Ray version 2.43.0 is required, but found {}"
    assert mismatches(gap, make_failure(("ValueError", message.format("2.35.0")), phase="generate")) == ()
    assert mismatches(gap, make_failure(("ValueError", "Ray version 2.60.0 is required"), phase="generate")) == (
        r"message: recorded Ray version 2\.43\.0 is required, but found 2\.\d+, found 'Ray version 2.60.0 is required'",
    )
