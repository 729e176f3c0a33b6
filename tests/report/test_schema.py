"""The JSON Schema that the package ships, and every report that it must describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from pytest_raycompat.compare import rendering
from pytest_raycompat.compare.comparison import compare
from pytest_raycompat.compare.merge import Source, merge, reports_of
from pytest_raycompat.records import Environment, ExceptionRecord, Measurement, Outcome, Verdict
from pytest_raycompat.report import markdown, page, schema
from pytest_raycompat.report.document import (
    AttemptRecord,
    ClusterRecord,
    ControlRecord,
    DeviceRecord,
    MachineRecord,
    Report,
    ReportSet,
)
from pytest_raycompat.report.document import (
    TestRecord as Record,
)

VALIDATOR = Draft202012Validator(json.loads(schema.PATH.read_text()))

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SECONDS = st.floats(0, 1e6, allow_nan=False)
TIMINGS = st.dictionaries(TEXT, SECONDS, max_size=3)
MEASUREMENTS = st.dictionaries(
    TEXT,
    st.builds(
        Measurement,
        unit=TEXT,
        samples=st.lists(SECONDS, max_size=3).map(tuple),
        better=st.sampled_from(["lower", "higher"]),
    ),
    max_size=2,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=3)
EXCEPTIONS = st.builds(ExceptionRecord, type=TEXT, message=TEXT, process=TEXT, traceback=TEXT)
OUTCOMES = st.sampled_from(get_args(Outcome))
CONTROLS = st.builds(
    ControlRecord, parameters=OBJECTS, outcome=OUTCOMES, exception=st.none() | EXCEPTIONS, timings=TIMINGS
)
ATTEMPTS = st.builds(
    AttemptRecord,
    verdict=st.sampled_from(get_args(Verdict)),
    reason=TEXT,
    timings=TIMINGS,
    measurements=MEASUREMENTS,
)
RESULTS = st.builds(
    Record,
    id=TEXT,
    verdict=st.sampled_from(get_args(Verdict)),
    reason=TEXT,
    seconds=SECONDS,
    flow=st.none() | TEXT,
    parameters=OBJECTS,
    outcome=st.none() | OUTCOMES,
    exception=st.none() | EXCEPTIONS,
    chain=st.lists(EXCEPTIONS, max_size=2).map(tuple),
    evidence=OBJECTS,
    timings=TIMINGS,
    control=st.none() | CONTROLS,
    attempts=st.lists(ATTEMPTS, max_size=2).map(tuple),
    samples=st.lists(TIMINGS, max_size=2).map(tuple),
    measurements=MEASUREMENTS,
    line=st.integers(0, 10_000),
)
REPORTS = st.builds(
    Report,
    project_version=TEXT,
    created=TEXT,
    finished=st.booleans(),
    environment=st.builds(Environment, executable=TEXT, python=TEXT, platform=TEXT, ray=st.none() | TEXT),
    device=st.builds(DeviceRecord, kind=st.sampled_from(["cpu", "cuda"]), count=st.integers(0, 8)),
    machine=st.none() | st.builds(MachineRecord, cpu=TEXT, cpus=st.integers(1, 512), memory_gb=SECONDS),
    cluster=st.none() | st.builds(ClusterRecord, description=TEXT, option=TEXT, owned=st.booleans()),
    results=st.lists(RESULTS, max_size=3, unique_by=lambda record: record.id).map(tuple),
)


def test_the_schema_that_is_shipped_is_that_of_the_structs() -> None:
    assert schema.PATH.read_text() == schema.text(), "run python -m pytest_raycompat.report.schema"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema.build())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REPORTS)
def test_every_report_is_valid_and_read_as_it_was_written(report: Report) -> None:
    written = msgspec.json.encode(report)
    assert msgspec.json.decode(written, type=Report) == report
    VALIDATOR.validate(json.loads(written))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(REPORTS, min_size=2, max_size=3))
def test_reports_of_several_environments_are_valid_too(reports: list[Report]) -> None:
    several = ReportSet(reports=tuple(reports))
    written = msgspec.json.encode(several)
    assert msgspec.json.decode(written, type=ReportSet) == several
    VALIDATOR.validate(json.loads(written))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REPORTS)
def test_whatever_a_report_holds_it_can_be_shown(report: Report) -> None:
    assert len(markdown.render([report, report])) <= markdown.LIMIT
    assert page.render([report, report]).count("</script>") == 2
    comparison = compare([report], [report])
    assert not comparison.worse
    assert rendering.text(comparison)
    assert len(rendering.markdown(comparison)) <= markdown.LIMIT


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REPORTS)
def test_a_report_merged_with_itself_has_the_same_verdicts(report: Report) -> None:
    (merged,) = reports_of(merge([Source(Path("a"), report), Source(Path("b"), report)]))
    assert [(one.id, one.verdict) for one in merged.results] == [(one.id, one.verdict) for one in report.results]


MINIMAL = {
    "schema_version": 1,
    "project_version": "0.1.0",
    "created": "2026-11-22T12:00:00+01:00",
    "finished": True,
    "environment": {"executable": "python", "python": "3.11.7", "platform": "Linux"},
    "device": {"kind": "cpu", "count": 0},
}


def test_the_least_that_a_report_must_have() -> None:
    VALIDATOR.validate(MINIMAL)
    for name in MINIMAL:
        with pytest.raises(ValidationError):
            VALIDATOR.validate({key: value for key, value in MINIMAL.items() if key != name})


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema_version": 2},
        {"device": {"kind": "tpu", "count": 0}},
        {"results": [{"id": "a", "verdict": "green"}]},
        {"results": [{"verdict": "passed"}]},
        {"reports": [{}]},
    ],
    ids=["schema", "device", "verdict", "id", "set"],
)
def test_what_is_wrong_is_no_report(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**MINIMAL, **wrong})


def test_fields_that_a_later_version_may_add_are_no_error() -> None:
    VALIDATOR.validate({**MINIMAL, "more": 1, "results": [{"id": "a", "verdict": "passed", "more": []}]})
