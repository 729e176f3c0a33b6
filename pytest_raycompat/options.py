"""The plugin's options: declared once, for the command line and the ini file, and read once into a frozen object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from pytest_raycompat.cluster.spec import ClusterSpec

CLUSTER_HELP = (
    "the Ray cluster that tests run on: off (default), auto (RAY_ADDRESS where it is set and answers, else local), "
    "local or local:NODESxGPUS (a cluster of our own, such as local:2x1), or HOST:PORT (attach; never stopped)"
)
PYTHON_HELP = "interpreter of the environment under test (default: the one that runs pytest)"
DEVICE_HELP = "what the flows run on: auto (default: cuda where there is a GPU), cuda or cpu"
GAPS_HELP = "further gap files or folders; may be given more than once"
REPORT_HELP = "write a report to this path, whose suffix is .json; may be given more than once"
DEADLINE_HELP = "seconds after which a flow is ended (default: 600)"

DEVICES = ("auto", "cuda", "cpu")
DEFAULT_REPORT = Path(".raycompat") / "report.json"
DEFAULT_DEADLINE_S = 600.0


@dataclass(frozen=True)
class Settings:
    """What the user asked for."""

    cluster: ClusterSpec
    python: str
    python_given: bool
    device: Literal["auto", "cuda", "cpu"]
    gaps: tuple[Path, ...]
    reports: tuple[Path, ...]
    deadline_s: float
    folder: Path
    """``.raycompat`` of the root folder: the default report, and the logs."""

    @property
    def active(self) -> bool:
        """Whether there is to be a cluster."""
        return self.cluster.kind != "off"

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """Read the options.

        Raises:
            pytest.UsageError: one has a value that is not right; names the option and says what would be right.
        """
        import sys

        from pytest_raycompat.cluster.spec import parse_cluster_spec
        from pytest_raycompat.environment import EnvironmentProblem, find_interpreter

        cluster_text = first(config.getoption("ray_cluster"), config.getini("ray_cluster"), "off")
        try:
            cluster = parse_cluster_spec(cluster_text)
        except ValueError as error:
            raise pytest.UsageError(f"--ray-cluster: {error}") from None
        python = first(config.getoption("raycompat_python"), config.getini("raycompat_python"), None)
        try:
            interpreter = find_interpreter(python or sys.executable)
        except EnvironmentProblem as error:
            raise pytest.UsageError(f"--raycompat-python: {error}") from None
        device = first(config.getoption("raycompat_device"), config.getini("raycompat_device"), "auto")
        if device not in DEVICES:
            raise pytest.UsageError(f"--raycompat-device: {device!r} is not a device: write {', '.join(DEVICES)}")
        folder = config.rootpath / DEFAULT_REPORT.parent
        return cls(
            cluster=cluster,
            python=interpreter,
            python_given=python is not None,
            device=device,
            gaps=read_paths(config, "raycompat_gaps"),
            reports=read_reports(config) or ((folder / DEFAULT_REPORT.name,) if cluster.kind != "off" else ()),
            deadline_s=read_deadline(config),
            folder=folder,
        )


NAMES = (
    "ray_cluster",
    "raycompat_python",
    "raycompat_device",
    "raycompat_gaps",
    "raycompat_report",
    "raycompat_deadline",
)


def any_given(config: pytest.Config) -> bool:
    """Whether the command line or the ini file sets any option of ours."""
    return any(config.getoption(name) is not None or config.getini(name) for name in NAMES)


def first(given: str | None, ini: str, default: str | None) -> str:
    """The command line wins over the ini file, which wins over the default."""
    return given if given is not None else ini or default  # type: ignore[return-value]


def read_paths(config: pytest.Config, name: str) -> tuple[Path, ...]:
    """Read an option that names paths: from the command line relative to where pytest runs, else to the ini file."""
    given: list[str] | None = config.getoption(name)
    if given is not None:
        return tuple(config.invocation_params.dir / path for path in given)
    return tuple(config.getini(name))


def read_reports(config: pytest.Config) -> tuple[Path, ...]:
    """Read where reports go."""
    paths = read_paths(config, "raycompat_report")
    for path in paths:
        if path.suffix != ".json":
            raise pytest.UsageError(
                f"--raycompat-report: {str(path)!r} has no known format: write a path that ends in .json"
            )
        if path.is_dir():
            raise pytest.UsageError(f"--raycompat-report: {str(path)!r} is a folder: write the path of a file")
    return paths


def read_deadline(config: pytest.Config) -> float:
    """Read the deadline of a flow, in seconds."""
    text = first(config.getoption("raycompat_deadline"), config.getini("raycompat_deadline"), str(DEFAULT_DEADLINE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise pytest.UsageError(f"--raycompat-deadline: {text!r} is not a number of seconds above 0, such as 600")
    return seconds


def add_options(parser: pytest.Parser) -> None:
    """Declare the options and their ini twins."""
    group = parser.getgroup("raycompat", "vLLM on Ray")
    for option, metavar, ini_type, help_text in (
        ("--ray-cluster", "SPEC", "string", CLUSTER_HELP),
        ("--raycompat-python", "PATH", "string", PYTHON_HELP),
        ("--raycompat-device", "DEVICE", "string", DEVICE_HELP),
        ("--raycompat-gaps", "PATH", "paths", GAPS_HELP),
        ("--raycompat-report", "PATH", "paths", REPORT_HELP),
        ("--raycompat-deadline", "SECONDS", "string", DEADLINE_HELP),
    ):
        name = option[2:].replace("-", "_")
        several = ini_type == "paths"
        group.addoption(
            option, dest=name, metavar=metavar, default=None, action="append" if several else "store", help=help_text
        )
        if several:
            parser.addini(name, help_text, type="paths", default=[])
        else:
            parser.addini(name, help_text, type="string", default="")
