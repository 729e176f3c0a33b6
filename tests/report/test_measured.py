from __future__ import annotations

import pytest

from pytest_raycompat.records import FlowResult, Measurement
from pytest_raycompat.report import markdown, page
from pytest_raycompat.report.collector import pooled, same_work
from pytest_raycompat.report.measured import measured_lines
from tests.making import make_record, make_report

RATE = Measurement(unit="tokens/s", samples=(430.0, 436.0, 442.0), better="higher")
START = Measurement(unit="s", samples=(38.25,), better="lower")
RECORD = make_record(
    "a.py::test_a",
    flow="performance",
    outcome="ok",
    parameters={"executor": "ray-v2", "tensor_parallel_size": 2},
    measurements={"single": RATE, "engine_start": START},
)


def test_in_the_terminal() -> None:
    assert measured_lines([RECORD]) == [
        "measured: performance ray-v2 TP=2",
        "  single          436 ± 6 tokens/s (3 samples)",
        "  engine_start    38.25 s (1 sample)",
    ]


def test_nothing_measured_is_nothing_said() -> None:
    report = make_report(make_record("a.py::test_a", flow="generate", outcome="ok"))
    assert measured_lines(report.results) == []
    assert "measured" not in markdown.render([report])
    assert 'id="h-measured"' not in page.render([report])


def test_in_the_terminal_what_was_measured_once_alone_is_left_to_the_report() -> None:
    once = make_record("a.py::test_a", flow="generate", outcome="ok", measurements={"throughput": START})
    assert measured_lines([once]) == []
    assert "| `throughput` | `38.25 s` | 1 |" in markdown.render([make_report(once)])


def test_in_markdown() -> None:
    text = markdown.render([make_report(RECORD)])
    assert "| `performance` | `ray-v2 TP=2` | `single` | `436 ± 6 tokens/s` | 3 |" in text.splitlines()


@pytest.mark.parametrize("reports", [1, 2])
def test_on_the_page(reports: int) -> None:
    text = page.render([make_report(RECORD, ray=ray) for ray in ("2.60.0", "2.35.0")[:reports]])
    assert "<strong>performance</strong> ray-v2 TP=2" in text
    assert text.count('single: 436 ± 6 tokens/s <span class="quiet">3 samples</span>') == reports


def test_runs_of_one_flow_in_a_test_are_put_together() -> None:
    def ran(executor: str, *samples: float) -> FlowResult:
        rate = Measurement(unit="s", samples=samples, better="lower")
        return FlowResult(
            flow="performance",
            parameters={"executor": executor},
            outcome="ok",
            phase="over",
            device="cpu",
            nodes=1,
            measurements={"start": rate},
        )

    one, two, other = ran("ray-v2", 1, 2), ran("ray-v2", 3), ran("mp", 9)
    assert pooled([one, two])["start"].samples == (1, 2, 3)
    assert same_work(one, two)
    assert not same_work(one, other)
