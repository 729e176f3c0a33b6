"""What can be said of the page without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from pytest_raycompat.report.chart import MOST_BARS, chart_of
from pytest_raycompat.report.document import BaselineRecord
from pytest_raycompat.report.document import TestRecord as Record
from pytest_raycompat.report.page import breakable, render
from tests.making import make_gap, make_record, make_report

MALICIOUS = "a.py::test_a[</script><script>alert(1)</script>\u2028&'\"]"


def test_nothing_of_a_report_is_markup() -> None:
    text = render([make_report(make_record(MALICIOUS, "failed", reason="<b>", gap="<i>"), ray="<u>")])
    assert "<script>alert" not in text
    for tag in ("<b>", "<i>", "<u>"):
        assert tag not in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])[0]["id"] == MALICIOUS


def test_only_its_own_script_may_run() -> None:
    text = render([make_report()])
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:" in text
    assert "http://" not in text and "https://" not in text


def test_a_run_that_did_not_finish_says_so() -> None:
    assert "The run did not finish" in render([make_report(make_record("a"), finished=False)])
    assert "The run did not finish" not in render([make_report(make_record("a"))])


def test_known_gaps_are_listed_with_how_often_they_showed() -> None:
    gap = make_gap(
        "a-gap", title="<Placement> groups", shown=1, passed=2, intermittent=True, workaround="does not work"
    )
    text = render([make_report(make_record("a", "known-gap", gap="a-gap"), gaps=(gap,))])
    assert "<li class=bad><strong>a-gap</strong>: &lt;Placement&gt; groups. " in text
    assert "shown in 1 of 3 tests; intermittent: a pass is allowed too; workaround: does not work" in text
    assert "Known gaps" not in render([make_report(make_record("a"))])


def test_a_matrix_is_for_several_environments() -> None:
    assert 'class="matrix"' not in render([make_report(make_record("a"))])
    assert 'class="matrix"' in render([make_report(make_record("a")), make_report(make_record("a"), ray="2.35.0")])


def test_a_test_that_ran_no_flow_is_in_the_row_of_the_flow_that_it_ran_elsewhere() -> None:
    flow = make_record("a.py::TestA::test_a[2]", flow="generate", parameters={"tensor_parallel_size": 2})
    text = render(
        [
            make_report(flow, make_record("a.py::test_own")),
            make_report(make_record("a.py::TestA::test_a[2]", "untested"), ray="2.35.0"),
        ]
    )
    matrix = text.partition('class="matrix"')[2].partition("</table>")[0]
    rows = [
        re.sub(r"<[^>]+>", " ", row.replace("<wbr>", "")).split()
        for row in re.findall(r"<tr>.*?</tr>", matrix, re.DOTALL)[1:]
    ]
    assert [row[:2] for row in rows] == [["generate", "TP=2"], ["test_own", "✓"]]
    assert [word for word in rows[0] if word in ("passed", "untested")] == ["passed", "untested"]


def test_lines_break_between_the_words_of_a_name_and_what_is_escaped_stays_so() -> None:
    assert breakable("a_b::TestIt[<x>]") == "a_<wbr>b::<wbr>Test<wbr>It[&lt;x&gt;]"


def test_what_it_was_compared_with_is_said() -> None:
    baseline = BaselineRecord(path="main.json", created="2026", differences=("Ray: 2.59.0 → 2.60.0",))
    text = render([make_report(make_record("a", change="unchanged"), baseline=baseline)])
    assert "<dd>main.json</dd>" in text
    assert "<dd>Ray: 2.59.0 → 2.60.0</dd>" in text


def test_bars_are_as_long_as_their_phases() -> None:
    long = make_record("a", flow="generate", timings={"start": 30.0, "generate": 10.0, "total": 50.0})
    short = make_record("b", flow="serve", timings={"start": 5.0, "total": 5.0})
    shared = make_record("c", flow="serve", timings={"start": 5.0, "total": 5.0})
    chart = chart_of([(0, short), (0, long), (0, shared), (0, make_record("d"))], ["one"])
    assert chart.phases == ("start", "generate")
    assert [(bar.name, bar.total, bar.words) for bar in chart.bars] == [
        ("generate", "50.0 s", "start 30.0 s, generate 10.0 s"),
        ("serve", "5.0 s", "start 5.0 s"),
    ]
    assert [(part.x, part.width) for part in chart.bars[0].parts] == [(0.0, 600.0), (600.0, 200.0)]


def test_the_environments_of_a_flow_are_drawn_together() -> None:
    def flow(name: str, seconds: float) -> Record:
        return make_record(f"{name}{seconds}", flow=name, timings={"total": seconds})

    tests = [(0, flow("slow", 50.0)), (1, flow("slow", 5.0)), (0, flow("quick", 9.0)), (1, flow("quick", 20.0))]
    bars = chart_of(tests, ["Ray 2.60.0", "Ray 2.35.0"]).bars
    assert [(bar.name, bar.about.removeprefix(", "), bar.total) for bar in bars] == [
        ("slow", "Ray 2.60.0", "50.0 s"),
        ("slow", "Ray 2.35.0", "5.0 s"),
        ("quick", "Ray 2.60.0", "9.0 s"),
        ("quick", "Ray 2.35.0", "20.0 s"),
    ]


def test_only_the_longest_are_drawn() -> None:
    tests = [(0, make_record(str(n), flow=f"flow_{n}", timings={"total": float(n + 1)})) for n in range(40)]
    chart = chart_of(tests, ["one"])
    assert (len(chart.bars), chart.left, chart.bars[0].name) == (MOST_BARS, 10, "flow_39")
