from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_raycompat.atlas.entries import AtlasError, Entry, read_entries, write_entries
from pytest_raycompat.atlas.predictions import (
    Explanation,
    Prediction,
    PredictionError,
    Predictions,
    Score,
    read_predictions,
    score,
)
from pytest_raycompat.atlas.rendering import markdown, page
from pytest_raycompat.atlas.view import view
from pytest_raycompat.cli import main
from pytest_raycompat.matrix.cells import Cell, CellStore
from pytest_raycompat.probe.findings import Finding, FlowResult, PairResult, Place
from pytest_raycompat.probe.rendering import Cell as Probed
from pytest_raycompat.probe.rendering import json_text
from pytest_raycompat.records import ExceptionRecord, Verdict
from pytest_raycompat.report import schema
from pytest_raycompat.report.document import DeviceRecord, MachineRecord, write_report
from tests.making import make_gap, make_record, make_report

MACHINE = MachineRecord(cpu="AMD EPYC", cpus=2, memory_gb=24.0)


FINDING = Finding(
    status="breaks",
    missing="ray.x",
    subject="Ray 2.35.0",
    package="ray",
    exception="ImportError",
    message="it is not there",
    used=Place("vllm/a.py", 3),
)
FAILED = Probed("Ray 2.99.0", "vLLM 0.32.0", error="there is no ray 2.99.0")


def generate(verdict: Verdict, executor: str, **fields: Any) -> Any:
    defaults = {"flow": "generate", "parameters": {"executor": executor, "tensor_parallel_size": 2}}
    return make_record(f"t::a[{executor}]", verdict, **(defaults | fields))


@pytest.fixture
def make_matrix(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, ray: str, *records: Any, **fields: Any) -> Path:
        folder = tmp_path / name
        defaults: dict[str, Any] = {
            "state": "measured",
            "measured": "2026-11-22T12:00:00+01:00",
            "machine": MACHINE,
            "git_revision": "0123456789abcdef",
            "arguments": ("suites",),
        }
        defaults |= {"vllm": "0.32.0"} | fields
        cell = Cell(name=f"ray-{ray}-vllm-{defaults['vllm']}-cpu", ray=ray, device="cpu", **defaults)
        store = CellStore(folder)
        if records:
            gap = make_gap(path="/home/me/pytest_raycompat/gaps/data/g.toml")
            write_report(store.paths(cell.name)[0], make_report(*records, ray=ray, gaps=(gap,)))
        store.finish(cell)
        return folder

    return make


def test_cells_are_cut_to_what_a_repository_keeps(make_matrix: Callable[..., Path], tmp_path: Path) -> None:
    exception = ExceptionRecord(type="ValueError", message="m", traceback="File /home/me")
    record = generate(
        "known-gap",
        "ray-v1",
        exception=exception,
        logs=("/home/me/log",),
        log_excerpt="/home/me",
        reason="see https://example.org/a/b and ./a/b\nlogs: /home/me/logs",
        reproduce="raycompat run --raycompat-python=/home/me/bin/python",
    )
    folder = make_matrix("m", "2.35.0", record, distributions=("ray @ file:///home/me/ray.whl", "torch==2.13.0"))
    write_entries(read_entries([folder]), tmp_path / "atlas")
    files = sorted((tmp_path / "atlas").rglob("*.json"))
    assert [path.name for path in files] == ["cell.json", "report.json"]
    assert not [path for path in files if "/home/me" in path.read_text()]
    Draft202012Validator(json.loads(schema.PATH.read_text())).validate(json.loads(files[1].read_text()))
    (entry,) = read_entries([tmp_path / "atlas"])
    assert entry.report is not None
    assert entry.report.results[0].reason == "see https://example.org/a/b and ./a/b\nlogs: …/logs"
    assert entry.report.results[0].reproduce == "raycompat run --raycompat-python=…/python"
    assert entry.cell.distributions == ("ray @ file", "torch==2.13.0")
    write_entries([entry], tmp_path / "again")
    assert [path.read_bytes() for path in sorted((tmp_path / "again").rglob("*.json"))] == [
        path.read_bytes() for path in files
    ]


def test_the_newest_run_of_the_same_tests_counts(make_matrix: Callable[..., Path]) -> None:
    old = make_matrix("old", "2.60.0", generate("failed", "ray-v2"), measured="2026-11-01T12:00:00+01:00")
    new = make_matrix("new", "2.60.0", generate("passed", "ray-v2"))
    part = make_matrix("part", "2.60.0", generate("passed", "ray-v1"), arguments=("suites", "-k", "v1"))
    for folders in ([old, new, part], [part, new, old]):
        entries = read_entries(folders)
        assert len(entries) == 2
        verdicts = {record.verdict for entry in entries if entry.report for record in entry.report.results}
        assert verdicts == {"passed"}


def test_the_newest_run_that_ran_a_flow_says_what_became_of_it(make_matrix: Callable[..., Path]) -> None:
    times = [f"2026-11-{day}T12:00:00+01:00" for day in ("01", "02", "03")]
    folders = [
        make_matrix("a", "2.60.0", generate("failed", "ray-v2"), measured=times[0], arguments=("a",)),
        make_matrix("b", "2.60.0", generate("known-gap", "ray-v2"), measured=times[1], arguments=("b",)),
        make_matrix("c", "2.60.0", generate("untested", "ray-v2"), measured=times[2], arguments=("c",)),
    ]
    for given in (folders, folders[::-1]):
        (table,) = view(read_entries(given)).tables
        assert [shown.verdict for row in table.rows for shown in row.cells] == ["known-gap"]


def test_what_one_run_did_not_reach_and_another_did_has_one_row(make_matrix: Callable[..., Path]) -> None:
    unreached = make_record("t::a[ray-v2]", "untested")
    folders = [
        make_matrix("a", "2.60.0", unreached, make_record("t::b", "untested"), arguments=("a",)),
        make_matrix("b", "2.60.0", generate("passed", "ray-v2"), arguments=("b",)),
    ]
    (table,) = view(read_entries(folders)).tables
    assert [(row.name, shown.verdict) for row in table.rows for shown in row.cells] == [
        ("generate", "passed"),
        ("b", "untested"),
    ]


def test_what_no_run_has_run_comes_last(make_matrix: Callable[..., Path]) -> None:
    records = [generate("unsupported", "a"), generate("passed", "b"), generate("untested", "c")]
    (table,) = view(read_entries([make_matrix("m", "2.60.0", *records)])).tables
    assert [shown.verdict for row in table.rows for shown in row.cells] == ["passed", "unsupported", "untested"]


def test_a_folder_without_cells(tmp_path: Path) -> None:
    with pytest.raises(AtlasError) as raised:
        read_entries([tmp_path])
    assert str(raised.value) == (
        f"{tmp_path}: no cells here: name a folder that 'raycompat matrix' or 'atlas' has written, or a JSON report"
    )


def on_gpus(count: int, *records: Any, **fields: Any) -> Any:
    device = DeviceRecord(kind="cuda", count=count, names=("NVIDIA H200",) * count)
    return make_report(*records, device=device, **fields)


def test_a_report_of_one_run_is_a_cell_of_the_machine_it_ran_on(tmp_path: Path) -> None:
    for count in (1, 2):
        write_report(tmp_path / f"{count}.json", on_gpus(count, generate("passed", "ray-v2", file="suites/a.py")))
    write_entries(read_entries([tmp_path / "1.json", tmp_path / "2.json"]), tmp_path / "atlas")
    entries = read_entries([tmp_path / "atlas"])
    assert [(one.cell.state, one.cell.arguments, one.device) for one in entries] == [
        ("measured", ("suites/a.py",), "1 NVIDIA H200"),
        ("measured", ("suites/a.py",), "2 NVIDIA H200"),
    ]
    text = markdown(view(entries))
    assert "vLLM 0.32.0, 1 NVIDIA H200" in text
    assert "vLLM 0.32.0, 2 NVIDIA H200" in text


def test_what_an_interrupted_run_did_not_reach_is_untested(tmp_path: Path) -> None:
    records = (generate("passed", "ray-v2"), generate("untested", "ray-v1"))
    write_report(tmp_path / "r.json", on_gpus(2, *records, finished=False))
    (entry,) = read_entries([tmp_path / "r.json"])
    assert entry.cell.state == "unfinished"
    text = markdown(view([entry]))
    assert "✅ passed" in text
    assert "untested" in text
    assert "the run was interrupted; what it did not reach is untested" in text


def test_what_is_red_is_listed_with_how_and_why(make_matrix: Callable[..., Path]) -> None:
    reason = "failed: error in phase 'start': ValueError: no"
    folders = [
        make_matrix("a", "2.42.1", generate("failed", "ray-v1", reason=reason), generate("known-gap", "ray-v2")),
        make_matrix("b", "2.60.0", generate("infra", "ray-v1"), generate("passed", "ray-v2")),
    ]
    explanation = Explanation(flow="generate ray-v1", ray="<2.43", text="it has no stream context")
    shown = view(read_entries(folders), Predictions(explanations=(explanation,)))
    assert [(one.pair, one.verdict, one.cause, one.explained) for one in shown.red] == [
        ("Ray 2.60.0, vLLM 0.32.0, cpu", "infra", "infra", "not explained yet"),
        ("Ray 2.42.1, vLLM 0.32.0, cpu", "failed", reason, "it has no stream context"),
    ]
    assert "| `failed: error in phase 'start': ValueError: no` | `it has no stream context` |" in markdown(shown)
    assert "it has no stream context" in page(shown)


def test_a_file_that_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.json").write_text("{")
    assert main(["atlas", str(tmp_path / "r.json"), "--output", str(tmp_path / "atlas")]) == 4
    assert capsys.readouterr().err.startswith(f"raycompat: {tmp_path / 'r.json'}: ")


def test_of_two_times_the_later_counts_in_whatever_zone(make_matrix: Callable[..., Path]) -> None:
    later = make_matrix("later", "2.60.0", generate("passed", "ray-v2"), measured="2026-08-01T22:30:00+00:00")
    sooner = make_matrix("sooner", "2.60.0", generate("failed", "ray-v2"), measured="2026-08-01T23:00:00+02:00")
    for folders in ([later, sooner], [sooner, later]):
        (entry,) = read_entries(folders)
        assert entry.report is not None
        assert entry.report.results[0].verdict == "passed"


@pytest.mark.parametrize("measured", ["", "yesterday", "2026-08-01T12:00:00"])
def test_a_cell_of_no_time(make_matrix: Callable[..., Path], measured: str) -> None:
    folder = make_matrix("m", "2.60.0", generate("passed", "ray-v2"), measured=measured)
    with pytest.raises(AtlasError) as raised:
        read_entries([folder])
    assert str(raised.value) == (
        f"{folder}: ray-2.60.0-vllm-0.32.0-cpu was measured at {measured!r}, which is not a time with a zone, such as "
        "2026-08-01T12:00:00+00:00"
    )


@pytest.mark.parametrize("name", ["../../escaped", "/elsewhere", "..", ""])
def test_a_cell_whose_name_leads_elsewhere(make_matrix: Callable[..., Path], name: str) -> None:
    folder = make_matrix("m", "2.60.0", generate("passed", "ray-v2"))
    (path,) = folder.glob("cells/*/cell.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    with pytest.raises(AtlasError) as raised:
        read_entries([folder])
    assert str(raised.value) == (
        f"{folder}: {name!r} is not the name of a cell, which is one such as ray-2.60.0-vllm-none-cpu"
    )


def test_a_report_in_which_gaps_counted_as_failures(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_report(path, make_report(generate("failed", "ray-v1"), gaps_mode="only"))
    with pytest.raises(AtlasError) as raised:
        read_entries([path])
    assert str(raised.value) == (
        f"{path}: ray-2.60.0-vllm-0.32.0-cpu was run with --raycompat-gaps-mode=only, in which known gaps are not told "
        "from failures: give a report without it"
    )


def test_a_damaged_cell(make_matrix: Callable[..., Path]) -> None:
    folder = make_matrix("m", "2.35.0", generate("passed", "ray-v2"))
    (report,) = folder.glob("cells/*/report.json")
    report.write_text("{")
    with pytest.raises(AtlasError, match=r"cell.json: not a cell, or its report cannot be read"):
        read_entries([folder])


def said(said: Any, executor: str | None = None, ray: str = "2.35.0", **fields: Any) -> Prediction:
    parameters = {"executor": executor} if executor else {}
    return Prediction(ray=ray, vllm="0.32.0", flow="generate", parameters=parameters, said=said, **fields)


@pytest.mark.parametrize(
    ("word", "verdict", "expected"),
    [
        ("breaks", "known-gap", "hit"),
        ("breaks", "failed", "hit"),
        ("breaks", "passed", "false alarm"),
        ("no obstacle found", "passed", "hit"),
        ("guarded", "passed", "hit"),
        ("no obstacle found", "failed", "miss"),
        ("guarded", "crashed", "miss"),
        ("unknown", "failed", "not scored"),
        ("breaks", "unsupported", "not scored"),
        ("breaks", "infra", "not scored"),
    ],
)
def test_scores(word: Any, verdict: Verdict, expected: Score) -> None:
    assert score(said(word), verdict) == expected
    assert score(None, verdict) == "not scored"


def test_a_flow_may_be_named_with_its_executor() -> None:
    predictions = Predictions(
        predictions=(Prediction(ray="2.35.0", vllm="0.32.0", flow="generate ray-v1", said="breaks"),)
    )
    found = [predictions.of("2.35.0", "0.32.0", generate("passed", executor)) for executor in ("ray-v1", "ray-v2")]
    assert [one is not None for one in found] == [True, False]


def test_what_names_the_parameters_wins() -> None:
    predictions = Predictions(predictions=(said("no obstacle found"), said("breaks", "ray-v1")))
    found = [predictions.of("2.35.0", "0.32.0", generate("passed", executor)) for executor in ("ray-v1", "ray-v2")]
    assert [one.said for one in found if one] == ["breaks", "no obstacle found"]
    assert predictions.of("2.60.0", "0.32.0", generate("passed", "ray-v1")) is None


@pytest.fixture
def entries(make_matrix: Callable[..., Path]) -> tuple[Entry, ...]:
    make_matrix("m", "2.60.0", generate("passed", "ray-v1"), generate("passed", "ray-v2"))
    make_matrix("m", "2.35.0", generate("known-gap", "ray-v1", gap="cgraph-version-guard"))
    return read_entries([make_matrix("m", "2.1.0", state="unresolvable", reason="no <wheel> | for this Python")])


PREDICTIONS = Predictions(
    predictions=(
        said("breaks", "ray-v1"),
        said("breaks", "ray-v1", ray="2.60.0", why="no <name>"),
    ),
    explanations=(
        Explanation(flow="generate", ray="<2.43", text="another pair"),
        Explanation(flow="generate", ray=">=2.43", text="it is there since | 2.43"),
    ),
)


def test_the_page_of_the_documentation(entries: tuple[Entry, ...]) -> None:
    text = markdown(view(entries, PREDICTIONS))
    assert "## vLLM 0.32.0, cpu\n\n| flow | Ray 2.60.0 | Ray 2.35.0 | Ray 2.1.0 |\n" in text
    assert (
        "| `generate ray-v1 TP=2` | ✅ passed<br>said: breaks | "
        "🟡 known-gap `cgraph-version-guard`<br>said: breaks | · |\n"
    ) in text
    assert "| `generate ray-v2 TP=2` | ✅ passed | · | · |\n" in text
    assert "| breaks | 1 | 0 | 1 |\n" in text
    assert (
        "| false alarm | Ray 2.60.0, vLLM 0.32.0, cpu | `generate ray-v1 TP=2` | breaks, passed | "
        "`it is there since \\| 2.43` |"
    ) in text
    assert (
        "| Ray 2.60.0, vLLM 0.32.0 | cpu | measured: 2 passed | 2026-11-22T12:00:00+01:00 | AMD EPYC, 2 CPUs | "
        "`0123456789ab` | `suites` | 2026-11-22 |  |"
    ) in text
    assert "- Ray 2.1.0: unresolvable, see" in text
    assert "`no <wheel> \\| for this Python` |" in text


def test_without_predictions_nothing_is_said_of_them(entries: tuple[Entry, ...]) -> None:
    assert "said" not in markdown(view(entries))


def test_the_page_escapes_what_it_shows(entries: tuple[Entry, ...]) -> None:
    text = page(view(entries, PREDICTIONS))
    assert "no &lt;wheel&gt;" in text and "no <wheel>" not in text
    assert "no &lt;name&gt;" in text and "no <name>" not in text
    assert "measured 2026-11-22T12:00:00+01:00 on AMD EPYC, 2 CPUs, revision 0123456789ab" in text
    assert "(false alarm)" in text


def test_predictions_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "said.json"
    with pytest.raises(PredictionError) as raised:
        read_predictions([path])
    assert str(raised.value) == f"--predictions: {path}: No such file or directory"
    path.write_text('{"predictions": [{"ray": "1", "vllm": "2", "flow": "f", "said": "works"}]}')
    with pytest.raises(PredictionError, match=r"not a file of predictions: Invalid enum value 'works'"):
        read_predictions([path])
    path.write_bytes(b'{"predictions": "\xff"}')
    with pytest.raises(PredictionError, match=r"said\.json: not a file of predictions: 'utf-8' codec"):
        read_predictions([path])
    path.write_text('{"explanations": [{"flow": "f", "ray": "2.35.0", "text": "t"}]}')
    with pytest.raises(PredictionError, match=r"said\.json: explanations\[0\]\.ray: '2\.35\.0' is not a version spec"):
        read_predictions([path])


def test_what_the_probe_writes(tmp_path: Path) -> None:
    flows = (
        FlowResult("generate ray-v1", "breaks", (FINDING,)),
        FlowResult("jobs", "no obstacle found", ()),
    )
    pairs = [Probed("Ray 2.35.0", "vLLM 0.32.0", PairResult("Ray 2.35.0", "vLLM 0.32.0", flows)), FAILED]
    path = tmp_path / "probe.json"
    path.write_text(json_text(pairs, []))
    explained = tmp_path / "explained.json"
    explained.write_text('{"explanations": [{"flow": "jobs", "vllm": ">=0.30", "text": "a race"}]}')
    found = read_predictions([path, explained])
    assert found.predictions == (
        Prediction(ray="2.35.0", vllm="0.32.0", flow="generate ray-v1", said="breaks", why="it is not there"),
        Prediction(ray="2.35.0", vllm="0.32.0", flow="jobs", said="no obstacle found"),
    )
    assert [found.explained(one.flow, one.ray, one.vllm) for one in found.predictions] == [
        "not explained yet",
        "a race",
    ]


def test_the_command(
    make_matrix: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], entries: tuple[Entry, ...]
) -> None:
    output = tmp_path / "atlas"
    assert main(["atlas", str(tmp_path / "m"), "-o", str(output)]) == 0
    assert capsys.readouterr().err == f"atlas: 3 cells in {output}\n"
    before = (output / "index.md").read_text()
    assert main(["atlas", str(output), "-o", str(output)]) == 0
    assert (output / "index.md").read_text() == before
    assert (output / "index.html").read_text().startswith("<!doctype html>")
    assert main(["atlas", str(tmp_path / "m"), "-o", str(output / "index.md")]) == 4
    assert capsys.readouterr().err.endswith(
        f"raycompat: -o: '{output}/index.md' is a file: write the path of a folder\n"
    )


def test_the_vllm_that_matters_comes_first(
    make_matrix: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for vllm in ("0.32.0", "0.10.0", "0.20.2"):
        make_matrix(vllm, "2.35.0", generate("passed", "ray-v2"), vllm=vllm)
    command = ["atlas", *(str(tmp_path / vllm) for vllm in ("0.32.0", "0.10.0", "0.20.2"))]
    command += ["-o", str(tmp_path / "atlas")]

    def titles() -> list[str]:
        lines = (tmp_path / "atlas" / "index.md").read_text().splitlines()
        return [line for line in lines if line.startswith("## vLLM")]

    assert main(command) == 0
    assert titles() == ["## vLLM 0.32.0, cpu", "## vLLM 0.20.2, cpu", "## vLLM 0.10.0, cpu"]
    assert main([*command, "--first", "0.10.0"]) == 0
    assert titles() == ["## vLLM 0.10.0, cpu", "## vLLM 0.32.0, cpu", "## vLLM 0.20.2, cpu"]
    capsys.readouterr()
    assert main([*command, "--first", "0.9"]) == 4
    assert capsys.readouterr().err.endswith(
        "raycompat: --first: no cell has vLLM '0.9': write one of 0.32.0, 0.20.2, 0.10.0\n"
    )
