from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_raycompat.compare import rendering
from pytest_raycompat.compare.comparison import CompareError, compare, describe_counts
from pytest_raycompat.compare.environments import brief, labels
from pytest_raycompat.records import Verdict
from pytest_raycompat.report.document import ClusterRecord, DeviceRecord, MachineRecord
from pytest_raycompat.report.document import TestRecord as Record
from tests.making import make_record, make_report

CUDA = DeviceRecord(kind="cuda", count=1, names=("NVIDIA L4",), driver="580.1")


def timed(*totals: float) -> Record:
    samples = tuple({"start": total - 1, "total": total} for total in totals)
    return make_record(
        "a.py::test_a", flow="generate", outcome="ok", timings=samples[0], samples=samples if len(samples) > 1 else ()
    )


def test_the_same_report_twice_has_nothing_to_say() -> None:
    report = make_report(make_record("a"), make_record("b", "failed"))
    comparison = compare([report], [report])
    assert not comparison.worse
    assert comparison.counts == {"still-failing": 1, "unchanged": 1}
    assert comparison.environments[0].differences == ()
    assert rendering.headline(comparison) == "nothing is worse"


def test_what_is_worse_comes_first() -> None:
    old = make_report(make_record("fixed", "failed"), make_record("a"), make_record("gone"))
    new = make_report(make_record("fixed"), make_record("a", "failed", reason="why", file="a.py", line=3))
    comparison = compare([old], [new], names=("main.json", "pull.json"))
    assert comparison.worse
    assert describe_counts(comparison.counts) == "1 regressed, 1 vanished, 1 fixed"
    assert [(entry.id, entry.change, entry.worse) for entry in comparison.environments[0].entries] == [
        ("a", "regressed", True),
        ("gone", "vanished", False),
        ("fixed", "fixed", False),
    ]
    assert compare([old], [new], vanished_is_worse=True).environments[0].entries[1].worse


def test_other_versions_are_compared_and_named() -> None:
    (environment,) = compare(
        [make_report(make_record("a"))], [make_report(make_record("a"), ray="2.35.0")]
    ).environments
    assert environment.name == "Ray 2.60.0, vLLM 0.32.0, cpu → Ray 2.35.0, vLLM 0.32.0, cpu"
    assert rendering.notes(environment) == ["Ray: 2.60.0 → 2.35.0 (may be the cause)"]
    assert environment.measurements_compared


@pytest.mark.parametrize(
    ("fields", "note", "timed_too"),
    [
        (
            {"machine": MachineRecord(cpu="Other", cpus=2, memory_gb=24.0)},
            "CPU: AMD EPYC → Other (so timings and measurements are not compared)",
            False,
        ),
        (
            {"cluster": ClusterRecord(description="two", option="local:2x1", owned=True)},
            "cluster: local:1x2 → local:2x1 (may be the cause)",
            True,
        ),
        ({"git_revision": "fedcba", "project_version": "0.2.0", "created": "2027"}, None, True),
        ({"finished": False}, "the run now did not finish", True),
    ],
    ids=["machine", "cluster", "revision", "not finished"],
)
def test_what_may_differ(fields: dict[str, Any], note: str | None, timed_too: bool) -> None:
    (environment,) = compare([make_report(timed(10))], [make_report(timed(100), **fields)]).environments
    assert rendering.notes(environment) == ([note] if note else [])
    assert bool(environment.measurements) is timed_too


def test_another_device_is_not_compared() -> None:
    with pytest.raises(CompareError) as caught:
        compare([make_report()], [make_report(device=CUDA)], names=("main.json", "pull.json"))
    assert str(caught.value) == (
        "nothing can be compared: main.json is of Ray 2.60.0, vLLM 0.32.0, cpu, pull.json of Ray 2.60.0, vLLM 0.32.0, "
        "cuda; reports of the same device kind and --raycompat-gaps-mode are compared, and of several environments "
        "only those of the same versions"
    )


def test_a_run_of_known_gaps_alone_is_not_compared_with_one_that_expects_them() -> None:
    with pytest.raises(CompareError) as caught:
        compare(
            [make_report(make_record("a", "known-gap"))], [make_report(make_record("a", "failed"), gaps_mode="only")]
        )
    assert "new of Ray 2.60.0, vLLM 0.32.0, cpu, --raycompat-gaps-mode=only; " in str(caught.value)


@pytest.mark.parametrize(("old", "new"), [("passed", "known-gap"), ("known-gap", "passed")])
def test_an_intermittent_gap_may_show_or_not(old: Verdict, new: Verdict) -> None:
    before, now = make_report(make_record("a", old, gap="g")), make_report(make_record("a", new, gap="g"))
    assert compare([before], [now]).counts == {"unchanged": 1}
    assert not compare([before], [now]).worse


def test_a_gap_that_was_not_recorded_before_is_worse() -> None:
    comparison = compare([make_report(make_record("a"))], [make_report(make_record("a", "known-gap", gap="g"))])
    assert comparison.counts == {"regressed": 1}
    assert comparison.worse


def test_runs_on_other_nodes_are_not_one_flow_that_got_slower() -> None:
    def nodes(setting: str, total: float) -> Record:
        return make_record(f"a[{setting}]", flow="generate", outcome="ok", setting=setting, timings={"total": total})

    report = make_report(nodes("nodes=2x1", 10.0), nodes("", 30.0))
    other = make_report(nodes("nodes=2x1", 10.0))
    assert compare([report], [other]).environments[0].measurements == ()


def test_several_environments_find_their_like() -> None:
    old = [make_report(make_record("a"), ray=ray) for ray in ("2.35.0", "2.59.0", "2.60.0")]
    new = [make_report(make_record("a"), ray=ray) for ray in ("2.60.0", "2.61.0", "2.35.0")]
    names = [environment.name for environment in compare(old, new).environments]
    assert names == [
        "Ray 2.60.0, vLLM 0.32.0, cpu",
        "Ray 2.35.0, vLLM 0.32.0, cpu",
        "Ray 2.59.0, vLLM 0.32.0, cpu → Ray 2.61.0, vLLM 0.32.0, cpu",
    ]


def test_an_environment_without_its_like_is_named() -> None:
    cpu, cuda = make_report(make_record("a")), make_report(make_record("a"), device=CUDA)
    gone = compare([cpu, cuda], [cpu]).environments[1]
    assert rendering.notes(gone) == ["this environment is not there any more"]
    assert [entry.change for entry in gone.entries] == ["vanished"]
    added = compare([cpu], [cpu, cuda]).environments[1]
    assert rendering.notes(added) == ["this environment was not there before"]
    assert [entry.change for entry in added.entries] == ["new"]


def test_no_two_environments_have_one_name() -> None:
    other = make_report(machine=MachineRecord(cpu="Other", cpus=2, memory_gb=24.0))
    assert labels([make_report(), other, make_report(ray="2.35.0")]) == [
        "Ray 2.60.0, vLLM 0.32.0, cpu, CPU AMD EPYC",
        "Ray 2.60.0, vLLM 0.32.0, cpu, CPU Other",
        "Ray 2.35.0, vLLM 0.32.0, cpu",
    ]
    assert len(set(labels([make_report(), make_report()]))) == 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Ray 2.60.0, vLLM 0.32.0, cpu", "Ray 2.35.0, vLLM 0.32.0, cpu"], ["Ray 2.60.0", "Ray 2.35.0"]),
        (["Ray 2.60.0, vLLM 1, cpu", "Ray 2.35.0, vLLM 2, cpu"], ["Ray 2.60.0, vLLM 1", "Ray 2.35.0, vLLM 2"]),
        (["a, b", "a"], ["a, b", "a"]),
        (["a, b"], ["a, b"]),
        (["a, b", "a, b"], ["a, b", "a, b"]),
    ],
)
def test_environments_that_are_shown_together_are_told_apart_in_a_few_words(
    names: list[str], expected: list[str]
) -> None:
    assert brief(names) == expected


def sample() -> Any:
    reason = "KeyError: 'GPU' | `x` <b> @someone\nsecond line"
    old = make_report(make_record("a.py::test_a[x|`y`]"), make_record("b", "known-gap", gap="some-gap"))
    new = make_report(
        make_record("a.py::test_a[x|`y`]", "failed", reason=reason, file="a.py", line=3, reproduce="raycompat run x"),
        make_record("b", "known-gap", gap="some-gap"),
    )
    return compare([old], [new], names=("main.json", "pull.json"))


def test_text() -> None:
    assert rendering.text(sample()) == (
        "main.json → pull.json: 1 worse\n"
        "\n"
        "Ray 2.60.0, vLLM 0.32.0, cpu\n"
        "  1 regressed, 1 still-failing\n"
        "  ! regressed      a.py::test_a[x|`y`]: passed → failed\n"
        "      KeyError: 'GPU' | `x` <b> @someone\n"
        "      second line\n"
        "      reproduce: raycompat run x\n"
        "    still-failing  b: known-gap → known-gap\n"
    )


def test_markdown() -> None:
    text = rendering.markdown(sample())
    assert text.startswith("### ❌ vLLM on Ray: 1 worse\n\n1 regressed, 1 still-failing\n")
    assert "| ❌ | **regressed** | ``a.py::test_a[x\\|`y`]`` | passed | failed |  |" in text
    assert "```text\nKeyError: 'GPU' | `x` <b> @someone\nsecond line\n```" in text


def test_the_tests_of_a_flow_that_break_together_are_told_together() -> None:
    tests = [f"a.py::TestA::test_{name}[2]" for name in ("x", "y")]
    old = make_report(*map(make_record, tests), make_record("a.py::TestA::test_x[4]"))
    new = make_report(
        *[make_record(test, "failed", reason="why", reproduce="raycompat run x") for test in tests],
        make_record("a.py::TestA::test_x[4]", "failed", reason="another"),
    )
    comparison = compare([old], [new], names=("main.json", "pull.json"))
    assert rendering.text(comparison).splitlines()[4:] == [
        "  ! regressed      a.py::TestA[2]: passed → failed",
        "      2 tests: test_x, test_y",
        "      why",
        "      reproduce: raycompat run x",
        "  ! regressed      a.py::TestA::test_x[4]: passed → failed",
        "      another",
    ]
    text = rendering.markdown(comparison)
    assert "| ❌ | **regressed** | `a.py::TestA[2]` (2 tests) | passed | failed |  |" in text
    assert len(json.loads(rendering.json_text(comparison))["environments"][0]["entries"]) == 3


def test_json() -> None:
    document = json.loads(rendering.json_text(sample()))
    assert document["worse"] is True
    assert document["counts"] == {"regressed": 1, "still-failing": 1}
    assert document["environments"][0]["entries"][0]["change"] == "regressed"


def test_markdown_fits() -> None:
    old = make_report(*[make_record(f"a.py::test_{number}") for number in range(3000)])
    new = make_report(*[make_record(f"a.py::test_{n}", "failed", reason=f"reason {n} " * 9) for n in range(3000)])
    text = rendering.markdown(compare([old], [new]))
    assert len(text) <= 65_535
    assert "more entries left out" in text
