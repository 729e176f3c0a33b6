from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pytest_raycompat.flows.registry import FLOWS
from pytest_raycompat.report.document import read_report


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nothing listens on and that nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_a_wrong_value_is_a_usage_error(run_pytest: Callable[..., pytest.RunResult]) -> None:
    result = run_pytest("--ray-cluster=on")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        "ERROR: --ray-cluster: 'on' is not a cluster: write off, auto, local, local:NODESxGPUS (such as local:2x1) "
        "or HOST:PORT"
    )


def test_an_empty_value_is_a_usage_error(run_pytest: Callable[..., pytest.RunResult]) -> None:
    result = run_pytest("--ray-cluster=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        "ERROR: --ray-cluster: '' is not a cluster: write off, auto, local, local:NODESxGPUS (such as local:2x1) "
        "or HOST:PORT"
    )


def test_the_ini_file_counts_unless_the_command_line_says_otherwise(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makeini("[pytest]\nray_cluster = local:0x1")
    pytester.makepyfile("def test_a(): pass")
    result = run_pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == "ERROR: --ray-cluster: 'local:0x1' asks for 0 nodes: write 1 to 64"
    run_pytest("--ray-cluster=off").assert_outcomes(passed=1)


def test_off_skips_the_tests_that_need_a_cluster_and_says_so(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], plugin_arguments: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        """
        def test_flow(run_flow): raise AssertionError
        def test_cluster(ray_cluster): raise AssertionError
        def test_more_clusters(make_ray_cluster): raise AssertionError
        def test_plain(): pass
        """
    )
    result = run_pytest("-rs", "--raycompat-report=r.json", *plugin_arguments)
    result.assert_outcomes(skipped=3, passed=1)
    assert result.stdout.str().count("no Ray cluster: run pytest with --ray-cluster=auto") >= 3
    records = read_report(pytester.path / "r.json").results
    assert {record.id.partition("::")[2] for record in records} == {"test_flow", "test_cluster", "test_more_clusters"}
    assert {(record.verdict, record.reason) for record in records} == {
        ("unsupported", "no Ray cluster: run pytest with --ray-cluster=auto")
    }
    assert not (pytester.path / ".raycompat").exists()


def test_what_needs_no_cluster_works_without_one(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        """
        import socket

        def test_model(tiny_model): assert (tiny_model / "config.json").is_file()

        def test_port(free_port):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", free_port))
        """
    )
    run_pytest().assert_outcomes(passed=2)
    assert not (pytester.path / ".raycompat").exists()


def test_ray_that_is_not_installed_is_a_usage_error(
    run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    python = make_interpreter()
    result = run_pytest("--ray-cluster=local:2x1", f"--raycompat-python={python}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --ray-cluster=local:2x1: Ray is not installed for {python}: install it there, "
        "or name another interpreter with --raycompat-python"
    )


def test_an_address_where_nothing_listens_is_a_usage_error(
    run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path], dead_port: int
) -> None:
    python = make_interpreter({"ray": "2.60.0"})
    result = run_pytest(f"--ray-cluster=127.0.0.1:{dead_port}", f"--raycompat-python={python}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --ray-cluster=127.0.0.1:{dead_port}: nothing listens at 127.0.0.1:{dead_port}: "
        "start Ray there, or use --ray-cluster=local"
    )


def test_an_address_where_nothing_listens_is_a_usage_error_of_the_run_that_has_workers(
    run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path], dead_port: int
) -> None:
    python = make_interpreter({"ray": "2.60.0"})
    result = run_pytest(
        f"--ray-cluster=127.0.0.1:{dead_port}", f"--raycompat-python={python}", "-n", "1", "--max-worker-restart=0"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --ray-cluster=127.0.0.1:{dead_port}: nothing listens at 127.0.0.1:{dead_port}: "
        "start Ray there, or use --ray-cluster=local"
    )


def test_the_header_says_what_there_will_be(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    pytester.makepyfile("def test_a(): pass")
    python = make_interpreter({"ray": "2.35.0+corp.3"})
    result = run_pytest("--ray-cluster=local:2x1", f"--raycompat-python={python}")
    result.assert_outcomes(passed=1)
    assert (
        f"raycompat: Ray 2.35.0+corp.3, no vLLM, no torch, Python {platform.python_version()}; cpu, no GPU; "
        "local cluster of 2 nodes with 1 stand-in GPU each"
    ) in result.outlines


@pytest.mark.parametrize(
    ("address", "note"),
    [
        ("127.0.0.1:{port}", " (nothing listens at RAY_ADDRESS=127.0.0.1:{port})"),
        (
            "ray://head:10001",
            " (RAY_ADDRESS is not used: 'ray://head:10001' is a Ray Client address, which vLLM cannot use: "
            "write the HOST:PORT of the GCS)",
        ),
    ],
)
def test_auto_says_why_it_starts_a_cluster(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_interpreter: Callable[..., Path],
    clean_environment: pytest.MonkeyPatch,
    dead_port: int,
    address: str,
    note: str,
) -> None:
    clean_environment.setenv("RAY_ADDRESS", address.format(port=dead_port))
    pytester.makepyfile("def test_a(): pass")
    result = run_pytest("--ray-cluster=auto", f"--raycompat-python={make_interpreter({'ray': '2.60.0'})}")
    result.assert_outcomes(passed=1)
    (header,) = [line for line in result.outlines if line.startswith("raycompat: ")]
    assert header.endswith("; local cluster of 1 node with 2 stand-in GPUs" + note.format(port=dead_port))


def test_without_the_option_the_header_says_nothing(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile("def test_a(): pass")
    assert "raycompat:" not in run_pytest().stdout.str()


def test_collecting_needs_no_cluster(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_interpreter: Callable[..., Path],
    dead_port: int,
) -> None:
    pytester.makepyfile("def test_a(ray_cluster): pass")
    arguments = (f"--ray-cluster=127.0.0.1:{dead_port}", f"--raycompat-python={make_interpreter()}")
    result = run_pytest("--collect-only", "-q", *arguments)
    assert result.ret == pytest.ExitCode.OK
    assert result.outlines[0] == "test_collecting_needs_no_cluster.py::test_a"


def test_a_cluster_that_does_not_start_is_no_verdict_on_the_test(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_interpreter: Callable[..., Path],
) -> None:
    pytester.makepyfile("def test_a(ray_cluster): pass")
    python = make_interpreter({"ray": "2.60.0"})
    result = run_pytest("--ray-cluster=local", f"--raycompat-python={python}")
    result.assert_outcomes(errors=1)
    report = read_report(pytester.path / ".raycompat" / "report.json")
    (record,) = report.results
    assert record.verdict == "infra"
    assert record.reason.startswith("setup: ClusterError: the local Ray 2.60.0 cluster did not start: ")
    assert record.reason.endswith("ModuleNotFoundError: No module named 'ray'")
    assert report.cluster is not None
    assert (report.cluster.option, report.cluster.owned) == ("local:1x2", True)


def test_flows_of_ones_own_run_and_are_judged(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    plugin_arguments: tuple[str, ...],
    clean_environment: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "temporary").mkdir()
    clean_environment.setenv("TMPDIR", str(tmp_path / "temporary"))
    arguments = with_flows(
        {
            "works": "reporter.output('text', 'hello')",
            "raises": "reporter.phase('start')\nraise LookupError('no')",
            "dies": "os.abort()",
        }
    )
    pytester.makepyfile(
        test_flows="""
        import pytest

        def test_works(run_flow): assert run_flow("corp_flows.works", size=2).outputs == {"text": "hello"}
        def test_works_differently(run_flow): assert run_flow("corp_flows.works", size=3).outputs == {}
        @pytest.mark.parametrize("again", [1, 2])
        def test_raises(run_flow, again): run_flow("corp_flows.raises")
        def test_dies(run_flow): run_flow("corp_flows.dies")
        def test_unknown(run_flow): run_flow("genrate")
        """
    )
    result = run_pytest(*arguments, *plugin_arguments)
    result.assert_outcomes(passed=1, failed=5)
    records = {
        record.id.partition("::")[2]: record
        for record in read_report(pytester.path / ".raycompat" / "report.json").results
    }
    assert {name: (record.verdict, record.outcome) for name, record in records.items()} == {
        "test_works": ("passed", "ok"),
        "test_works_differently": ("failed", "ok"),
        "test_raises[1]": ("failed", "error"),
        "test_raises[2]": ("failed", "error"),
        "test_dies": ("crashed", "crash"),
        "test_unknown": ("failed", None),
    }
    works, raises = records["test_works"], records["test_raises[1]"]
    python = arguments[1]
    assert works.reproduce == (
        f"raycompat run corp_flows.works --ray-cluster=off --raycompat-device=cpu {python} -- --size 2"
    )
    assert raises.phase == "start"
    assert raises.exception is not None
    assert (raises.exception.type, raises.exception.message) == ("LookupError", "no")
    assert raises.reason == "error in phase 'start': LookupError: no"
    assert all((pytester.path / log).is_file() for record in records.values() for log in record.logs)
    logs = [log for record in (works, records["test_works_differently"], raises) for log in record.logs]
    assert len(set(logs)) == 3
    output = result.stdout.str()
    assert "failed: error in phase 'start': LookupError: no\nlog: " in output
    assert f"reproduce: {raises.reproduce}\n" in output
    assert "E   AssertionError: assert {'text': 'hello'} == {}" in output
    assert f"ValueError: 'genrate' is not a flow: choose one of {', '.join(sorted(FLOWS))}, or name a" in output
    assert list((tmp_path / "temporary").glob("raycompat*")) == []


def test_a_root_folder_that_cannot_be_written_is_a_usage_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    (pytester.path / ".raycompat").touch()
    python = make_interpreter({"ray": "2.60.0"})
    result = run_pytest("--ray-cluster=local", f"--raycompat-python={python}", "--raycompat-report=r.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --ray-cluster=local: {pytester.path / '.raycompat'}: File exists; logs, and what is kept between "
        "runs, go there: choose another root folder with --rootdir"
    )


@pytest.mark.parametrize("option", ["--help", "--markers", "--fixtures", "--setup-plan"])
def test_what_only_tells_needs_no_cluster(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], option: str, dead_port: int
) -> None:
    pytester.makeini(f"[pytest]\nray_cluster = 127.0.0.1:{dead_port}")
    pytester.makepyfile("def test_a(): pass")
    result = run_pytest(option)
    assert result.ret == pytest.ExitCode.OK
    assert not (pytester.path / ".raycompat").exists()
