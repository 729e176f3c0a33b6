"""The command ``raycompat``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_raycompat import commands
from pytest_raycompat.cli import COMMANDS, main
from pytest_raycompat.cluster.observation import ObserverError
from pytest_raycompat.commands import CommandError
from pytest_raycompat.commands import run as run_command
from pytest_raycompat.commands.run import read_parameters
from pytest_raycompat.lease import LeaseError

FLOW = """
import argparse, sys
from pytest_raycompat.flows.reporting import run_program

parser = argparse.ArgumentParser()
parser.add_argument("--fails", action="store_true")
arguments, _ = parser.parse_known_args()


def body(reporter):
    reporter.phase("work")
    if arguments.fails:
        raise ValueError("as asked")


sys.exit(run_program("theirs", {}, body))
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "theirs.py").write_text(FLOW)
    (folder / "pack").mkdir(exist_ok=True)
    (folder / "pack" / "__init__.py").touch()
    (folder / "pack" / "theirs.py").write_text(FLOW)
    return subprocess.run(
        [sys.executable, "-m", "pytest_raycompat.cli", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_parameters() -> None:
    words = ["--tensor-parallel-size", "2", "--executor=ray-v2", "--hold", "--note", "a=b", "--text="]
    assert read_parameters(words) == {
        "tensor_parallel_size": 2,
        "executor": "ray-v2",
        "hold": True,
        "note": "a=b",
        "text": "",
    }


def test_a_word_that_is_no_option() -> None:
    with pytest.raises(CommandError) as raised:
        read_parameters(["--executor", "mp", "2"])
    assert str(raised.value) == "'2' is not an option of the flow: write --name value"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["run", "generat"],
            "'generat' is not a flow: "
            "choose one of compiled_graph, data_parallel, generate, jobs, performance, ray_data, ray_serve, rlhf, "
            "serve, or name a module (pkg.module)",
        ),
        (
            ["run", "generate", "--ray-cluster=locl"],
            "--ray-cluster: 'locl' is not a cluster: "
            "write off, auto, local, local:NODESxGPUS (such as local:2x1) or HOST:PORT",
        ),
        (["run", "generate", "--raycompat-gaps=no/such"], "no/such"),
        (["run", "generate", "--", "2"], "'2' is not an option of the flow: write --name value"),
    ],
)
def test_bad_input(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words[:2], "--raycompat-device=cpu", *words[2:]]) == 4
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("error", [LeaseError("somebody has this machine"), ObserverError("it did not answer")])
def test_what_hinders_a_flow_is_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hindered(*_: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_command, "run_and_judge", hindered)
    assert main(["run", "generate", "--raycompat-device=cpu"]) == 4
    assert capsys.readouterr().err == f"raycompat: {error}\n"


def test_a_bad_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["run"])
    assert raised.value.code == 4
    assert "the following arguments are required: flow" in capsys.readouterr().err


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(commands.__file__).parent
    assert sorted(COMMANDS) == sorted(path.stem for path in folder.glob("[a-z]*.py"))
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out.partition("COMMAND\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines() if line[:5].strip()] == list(COMMANDS)


def test_the_help_of_run_says_its_own_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    said = capsys.readouterr().out
    assert "the Ray cluster that the flow runs on (default: local): off, auto (RAY_ADDRESS where" in said
    assert "off (default)" not in said


def test_a_flow_of_ones_own(tmp_path: Path) -> None:
    finished = run(tmp_path, "run", "pack.theirs", "--ray-cluster=off")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == "passed"
    assert "pack.theirs: launch (deadline in 600 s)" in finished.stderr


def test_a_flow_that_fails(tmp_path: Path) -> None:
    finished = run(tmp_path, "run", "pack.theirs", "--ray-cluster=off", "--", "--fails")
    assert finished.returncode == 1, finished.stderr
    assert finished.stdout.splitlines()[-1] == "failed: error in phase 'work': ValueError: as asked"
