from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pytest_raycompat.environments.candidates import read_candidate
from pytest_raycompat.environments.ordering import Pair
from pytest_raycompat.matrix.cells import Cell, CellStore, Request, State, StoreError
from pytest_raycompat.matrix.measuring import Watch, default_arguments, pytest_command
from pytest_raycompat.matrix.progress import Progress, duration
from pytest_raycompat.matrix.running import merged, pairs_of, pending, run_pairs, summary
from pytest_raycompat.matrix.shards import Shard, read_shard
from pytest_raycompat.processes.running import Interrupted
from pytest_raycompat.records import Verdict
from pytest_raycompat.report.document import write_report
from tests.making import make_record, make_report

REQUEST = Request(arguments=("suites",), device="cpu", python="3.11")


def cell(name: str, state: State = "measured", **fields: object) -> Cell:
    ray, vllm = name.removeprefix("ray-").removesuffix("-cpu").split("-vllm-")
    return Cell(name=name, ray=ray, vllm=vllm, device="cpu", state=state, **fields)  # type: ignore[arg-type]


def pairs(*rays: str) -> list[Pair]:
    candidates = [read_candidate("ray", ray, "cpu", Path()) for ray in rays]
    return pairs_of(candidates, [read_candidate("vllm", "none", "cpu", Path())], "cpu")


class Stream(list[str]):
    """What a user sees."""

    def write(self, text: str) -> None:
        self.append(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    @property
    def lines(self) -> list[str]:
        return "".join(self).splitlines()


class FakeMeasurer:
    """Finds out what a table says of each Ray, or is interrupted."""

    def __init__(self, store: CellStore, table: dict[str, Verdict | State | BaseException]) -> None:
        self.store = store
        self.table = table
        self.asked: list[str] = []

    def measure(self, pair: Pair, watch: Watch) -> Cell:
        self.store.begin(pair.name)
        watch("building")
        self.asked.append(pair.ray.label)
        said = self.table[pair.ray.label]
        if isinstance(said, BaseException):
            raise said
        if said in ("passed", "failed"):
            report = make_report(make_record("t::a", said), ray=pair.ray.label)
            write_report(self.store.paths(pair.name)[0], report)
            found = cell(pair.name)
        else:
            found = cell(pair.name, said, reason="why")  # type: ignore[arg-type]
        self.store.finish(found)
        return found


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    return CellStore(tmp_path / "matrix")


def test_the_line_that_changes_is_one_row_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    verdicts: tuple[Verdict, ...] = (
        "passed",
        "failed",
        "known-gap",
        "gap-changed",
        "crashed",
        "timed-out",
        "unsupported",
        "infra",
    )
    report = make_report(*(make_record(f"t::{verdict}", verdict) for verdict in verdicts))
    progress = Progress(stream, 1)  # type: ignore[arg-type]
    progress.watch("running the tests")
    progress.watch("running the tests", lambda: report)
    last = "".join(stream).rpartition("\r\033[K")[2]
    assert len(last) == 79


def test_every_pair_once_with_what_is_left(store: CellStore) -> None:
    stream = Stream()
    times = iter([0, 0, 60, 60, 61, 61, 62])
    measurer = FakeMeasurer(store, {"2.35.0": "passed", "2.40.0": "unresolvable"})
    progress = Progress(stream, 2, lambda: next(times))  # type: ignore[arg-type]
    with store.open(REQUEST):
        outcome = run_pairs(pairs("2.35.0", "2.40.0"), store, measurer, progress)
    assert stream.lines == [
        "[1/2] Ray 2.35.0, no vLLM: building",
        "[1/2] Ray 2.35.0, no vLLM: 1 passed (60 s)",
        "[2/2] Ray 2.40.0, no vLLM: building; about 60 s left",
        "[2/2] Ray 2.40.0, no vLLM: unresolvable: why (1 s)",
    ]
    assert outcome.red
    assert summary(outcome, store) == [
        "  Ray     vLLM  verdicts",
        "  2.35.0  none  1 passed",
        "! 2.40.0  none  unresolvable: why",
    ]


def test_an_interrupt_neither_loses_nor_repeats_a_cell(store: CellStore) -> None:
    measurer = FakeMeasurer(store, {"2.35.0": "passed", "2.40.0": Interrupted(2), "2.60.0": "failed"})
    asked = pairs("2.35.0", "2.40.0", "2.60.0")
    with pytest.raises(Interrupted), store.open(REQUEST):
        run_pairs(asked, store, measurer, Progress(Stream(), 3))  # type: ignore[arg-type]
    assert [pair.ray.label for pair in pending(asked, store)] == ["2.40.0", "2.60.0"]
    measurer.table["2.40.0"] = "passed"
    with store.open(REQUEST):
        outcome = run_pairs(asked, store, measurer, Progress(Stream(), 2))  # type: ignore[arg-type]
    assert measurer.asked == ["2.35.0", "2.40.0", "2.40.0", "2.60.0"]
    assert [report.environment.ray for report in merged(outcome.cells, store)] == ["2.35.0", "2.40.0", "2.60.0"]
    assert outcome.red


@pytest.mark.parametrize(
    ("state", "left", "left_to_retry"),
    [
        ("unreachable", True, True),
        ("disk-full", True, True),
        ("unresolvable", False, True),
        ("unbuildable", False, True),
        ("unfinished", False, True),
    ],
)
def test_what_is_measured_again(store: CellStore, state: State, left: bool, left_to_retry: bool) -> None:
    (pair,) = pairs("2.35.0")
    store.finish(cell(pair.name, state))
    assert bool(pending([pair], store)) == left
    assert bool(pending([pair], store, retry=True)) == left_to_retry


@pytest.mark.parametrize("damage", ["cell", "report", "no-report"])
def test_a_damaged_cell_is_measured_again(store: CellStore, damage: str) -> None:
    (pair,) = pairs("2.35.0")
    measurer = FakeMeasurer(store, {"2.35.0": "passed"})
    measurer.measure(pair, lambda phase: None)
    assert pending([pair], store) == []
    report = store.paths(pair.name)[0]
    path = report if damage != "cell" else report.parent / "cell.json"
    if damage == "no-report":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40])
    assert pending([pair], store) == [pair]


def test_a_folder_has_cells_of_one_request(store: CellStore) -> None:
    with store.open(Request(arguments=("no_such_file.py",), device="cpu", python="3.11")):
        pass
    with store.open(REQUEST):  # nothing was measured by the other one
        store.finish(cell("ray-2.35.0-vllm-none-cpu", "unresolvable"))
    with (
        pytest.raises(StoreError) as raised,
        store.open(Request(arguments=("suites", "-k", "generate"), device="cpu", python="3.11")),
    ):
        pass
    assert str(raised.value) == (
        f"--output: {store.folder} holds cells of 'suites' on cpu with Python 3.11, not of 'suites -k generate' on "
        "cpu with Python 3.11: name another folder, or remove it"
    )


def test_a_folder_has_cells_of_one_python(store: CellStore) -> None:
    with store.open(REQUEST):
        store.finish(cell("ray-2.35.0-vllm-none-cpu", "unresolvable"))
    store.check(REQUEST)
    with pytest.raises(StoreError, match=r"not of 'suites' on cpu with Python 3\.12: name another folder"):
        store.check(msgspec.structs.replace(REQUEST, python="3.12"))


def test_looking_at_a_folder_writes_nothing(tmp_path: Path) -> None:
    CellStore(tmp_path / "cells").check(REQUEST)
    assert not (tmp_path / "cells").exists()


def test_a_folder_is_one_runs(store: CellStore) -> None:
    with store.open(REQUEST), pytest.raises(StoreError) as raised, CellStore(store.folder).open(REQUEST):
        pass
    assert str(raised.value) == f"--output: {store.folder} is in use by another run: wait for it"


def test_a_folder_with_something_else_in_it(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(StoreError) as raised, CellStore(tmp_path).open(REQUEST):
        pass
    assert str(raised.value) == f"--output: {tmp_path} has files that are not of a matrix: name another folder"


def test_reports_that_contradict_each_other_stay_apart(store: CellStore) -> None:
    found = []
    for name, verdict in (("ray-1-vllm-none-cpu", "passed"), ("ray-1+corp@1a-vllm-none-cpu", "failed")):
        write_report(store.paths(name)[0], make_report(make_record("t::a", verdict)))  # type: ignore[arg-type]
        found.append(cell(name))
    assert len(merged(found, store)) == 2


@pytest.mark.parametrize(("text", "taken"), [("1/1", "abcde"), ("1/2", "ace"), ("2/2", "bd"), ("7/7", "")])
def test_shards(text: str, taken: str) -> None:
    assert "".join(read_shard(text).of("abcde")) == taken


def test_shards_make_a_whole() -> None:
    items = list(range(17))
    assert sorted(item for number in range(1, 6) for item in Shard(number, 5).of(items)) == items


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "1/-2"])
def test_no_shard(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_shard(text)
    assert str(raised.value) == (
        f"--shard: {text!r} is not a part: write NUMBER/COUNT, from 1/4 to 4/4 for four machines"
    )


def test_the_users_options_come_after_ours_but_for_those_that_make_a_cell() -> None:
    command = pytest_command(["suites", "--ray-cluster=local:2x1"], Path("/e/python"), "cpu", Path("r.json"), Path("l"))
    clusters = [word for word in command if word.startswith("--ray-cluster")]
    assert clusters == ["--ray-cluster=local", "--ray-cluster=local:2x1"]
    assert command[-3:] == ["--raycompat-python=/e/python", "--raycompat-report=r.json", "--raycompat-logs=l/flows"]


def test_what_is_run_where_nothing_is_said(tmp_path: Path) -> None:
    assert default_arguments(tmp_path) == ("--pyargs", "pytest_raycompat.suites")
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "__init__.py").touch()
    assert default_arguments(tmp_path) == ("suites",)


@pytest.mark.parametrize(("seconds", "said"), [(5, "5 s"), (89, "89 s"), (300, "5 min"), (3 * 3600 + 60, "3 h 1 min")])
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_cell_comes_back_as_it_was_written(store: CellStore) -> None:
    written = cell("ray-1-vllm-none-cpu", "unresolvable", reason="no\nsolution", notes=("yanked",), build_s=1.5)
    store.finish(written)
    assert store.find(written.name) == written
    assert msgspec.json.decode((store.folder / "cells" / written.name / "cell.json").read_bytes())["state"] == (
        "unresolvable"
    )
