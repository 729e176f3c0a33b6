from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.cluster.spec import ClusterSpec, Shape
from pytest_raycompat.settings import Settings, SettingsError


def refusal(**options: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.read(root=Path("/project"), **options)
    return str(caught.value)


def test_what_is_not_given_has_a_default() -> None:
    assert Settings.read(root=Path("/project")) == Settings(
        cluster=ClusterSpec("off"),
        python=sys.executable,
        python_given=False,
        device="auto",
        gaps=(),
        reports=(),
        deadline_s=600.0,
        folder=Path("/project/.raycompat"),
    )


def test_what_is_given_is_read(tmp_path: Path) -> None:
    settings = Settings.read(
        root=Path("/project"),
        cluster="local:2x1",
        python=sys.executable,
        device="cuda",
        deadline="1e2",
        flows_per_gpu="4",
        gaps=(Path("a"), Path("b")),
        reports=(tmp_path / "a.json", tmp_path / "b.json"),
    )
    assert settings.cluster == ClusterSpec("local", shape=Shape((1, 1)))
    assert (settings.python, settings.python_given) == (sys.executable, True)
    assert (settings.device, settings.deadline_s, settings.flows_per_gpu) == ("cuda", 100.0, 4)
    assert settings.gaps == (Path("a"), Path("b"))
    assert settings.reports == (tmp_path / "a.json", tmp_path / "b.json")


@pytest.mark.parametrize(("cluster", "active"), [(None, False), ("off", False), ("auto", True), ("local", True)])
def test_with_a_cluster_there_is_a_report_by_default(cluster: str | None, active: bool) -> None:
    settings = Settings.read(root=Path("/project"), cluster=cluster)
    assert settings.active is active
    assert settings.reports == ((Path("/project/.raycompat/report.json"),) if active else ())


def test_a_report_that_is_asked_for_replaces_the_default(tmp_path: Path) -> None:
    settings = Settings.read(root=Path("/project"), cluster="local", reports=(tmp_path / "a.json",))
    assert settings.reports == (tmp_path / "a.json",)


def test_a_wrong_cluster_names_its_option() -> None:
    assert refusal(cluster="on") == (
        "--ray-cluster: 'on' is not a cluster: write off, auto, local, local:NODESxGPUS (such as local:2x1) "
        "or HOST:PORT"
    )


def test_a_wrong_interpreter_names_its_option() -> None:
    assert refusal(python="/nowhere/python") == (
        "--raycompat-python: '/nowhere/python' is not an executable file: give the path of a Python interpreter"
    )


@pytest.mark.parametrize("device", ["gpu", "CPU", "cuda:0"])
def test_a_wrong_device_names_its_option(device: str) -> None:
    assert refusal(device=device) == f"--raycompat-device: {device!r} is not a device: write auto, cuda, cpu"


@pytest.mark.parametrize("number", ["0", "33", "-1", "2.5", "two", "\u0662"])
def test_a_wrong_number_of_flows_per_gpu_names_its_option(number: str) -> None:
    assert refusal(flows_per_gpu=number) == (
        f"--raycompat-flows-per-gpu: {number!r} is not a number of flows: write a whole number from 1 to 32"
    )


@pytest.mark.parametrize("deadline", ["soon", "0", "-1", "inf", "nan", "10m"])
def test_a_wrong_deadline_names_its_option(deadline: str) -> None:
    assert refusal(deadline=deadline) == (
        f"--raycompat-deadline: {deadline!r} is not a number of seconds above 0, such as 600"
    )


@pytest.mark.parametrize("name", ["report", "report.xml", ".json", "report.json.gz"])
def test_a_report_of_another_format_names_its_option(tmp_path: Path, name: str) -> None:
    assert refusal(reports=(tmp_path / "a.json", tmp_path / name)) == (
        f"--raycompat-report: '{tmp_path / name}' has no known format: write a path that ends in .json, .md or .html"
    )


def test_a_report_that_is_a_folder_names_its_option(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    assert refusal(reports=(tmp_path / "report.json",)) == (
        f"--raycompat-report: '{tmp_path / 'report.json'}' is a folder: write the path of a file"
    )


def test_a_report_below_a_file_names_its_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "more" / "report.json"
    assert refusal(reports=(path,)) == f"--raycompat-report: '{path}' is below 'file', which is a file"


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("cluster", "--ray-cluster: '' is not a cluster: "),
        ("python", "--raycompat-python: '' is "),
        ("device", "--raycompat-device: '' is not a device: "),
        ("deadline", "--raycompat-deadline: '' is not a number of seconds above 0"),
    ],
)
def test_an_empty_text_is_wrong(option: str, problem: str) -> None:
    assert refusal(**{option: ""}).startswith(problem)
