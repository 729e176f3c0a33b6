"""The plugin's options: declared once, for the command line and the ini file, and read once."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_raycompat.settings import Settings

CLUSTERS = (
    "auto (RAY_ADDRESS where it is set and answers, else local), local or local:NODESxGPUS (a cluster of our own, "
    "such as local:2x1), or HOST:PORT (attach; never stopped)"
)
CLUSTER_HELP = f"the Ray cluster that tests run on: off (default), {CLUSTERS}"
PYTHON_HELP = "interpreter of the environment under test (default: the one that runs pytest)"
DEVICE_HELP = "what the flows run on: auto (default: cuda where there is a GPU), cuda or cpu"
FLOWS_PER_GPU_HELP = (
    "how many flows may be on a GPU at the same time, each with its share of the memory (default: 1); "
    "with as many workers of pytest-xdist"
)
GAPS_HELP = "further gap files or folders; may be given more than once"
GAPS_MODE_HELP = (
    "tests for which a known gap applies: run them and expect it (default: run), skip them, or run only them, "
    "as if there were no gaps"
)
REPORT_HELP = "write a report to this path, whose suffix is .json, .md or .html; may be given more than once"
BASELINE_HELP = (
    "a JSON report, or a folder of them, to compare with: the run fails on what got worse, "
    "not on what was already broken"
)
LOGS_HELP = "folder for the logs of flows and clusters (default: .raycompat/logs in the root folder)"
DEADLINE_HELP = "seconds after which a flow is ended (default: 600)"

# option, what stands for its value, help; the ini twin is named as the option, with underscores
FLOW_TEXTS = (
    ("--ray-cluster", "SPEC", CLUSTER_HELP),
    ("--raycompat-python", "PATH", PYTHON_HELP),
    ("--raycompat-device", "DEVICE", DEVICE_HELP),
    ("--raycompat-deadline", "SECONDS", DEADLINE_HELP),
)
TEXTS = (
    *FLOW_TEXTS,
    ("--raycompat-flows-per-gpu", "N", FLOWS_PER_GPU_HELP),
    ("--raycompat-gaps-mode", "MODE", GAPS_MODE_HELP),
)
PATHS = (
    ("--raycompat-gaps", "PATH", GAPS_HELP),
    ("--raycompat-report", "PATH", REPORT_HELP),
)
FILES = (("--raycompat-baseline", "PATH", BASELINE_HELP), ("--raycompat-logs", "PATH", LOGS_HELP))


def name_of(option: str) -> str:
    """Name the ini twin of an option: ``ray_cluster`` for ``--ray-cluster``."""
    return option[2:].replace("-", "_")


NAMES = tuple(name_of(option) for option, _, _ in (*TEXTS, *PATHS, *FILES))


def add_options(parser: pytest.Parser) -> None:
    """Declare the options and their ini twins."""
    group = parser.getgroup("raycompat", "vLLM on Ray")
    for option, metavar, help_text in TEXTS:
        group.addoption(option, dest=name_of(option), metavar=metavar, default=None, help=help_text)
        parser.addini(name_of(option), help_text, type="string", default="")
    for option, metavar, help_text in PATHS:
        group.addoption(option, dest=name_of(option), metavar=metavar, default=None, action="append", help=help_text)
        parser.addini(name_of(option), help_text, type="paths", default=[])
    for option, metavar, help_text in FILES:
        group.addoption(option, dest=name_of(option), metavar=metavar, default=None, help=help_text)
        parser.addini(name_of(option), help_text, type="string", default="")


def any_given(config: pytest.Config) -> bool:
    """Whether the command line or the ini file sets any option of ours."""
    return any(config.getoption(name) is not None or config.getini(name) for name in NAMES)


def read_options(config: pytest.Config) -> Settings:
    """Read the options: the command line wins over the ini file, which wins over the default.

    Raises:
        pytest.UsageError: one has a value that is not right; names the option and says what would be right.
    """
    from pytest_raycompat.settings import Settings, SettingsError

    try:
        return Settings.read(
            root=config.rootpath,
            cluster=text_of(config, "ray_cluster"),
            python=python_of(config),
            device=text_of(config, "raycompat_device"),
            deadline=text_of(config, "raycompat_deadline"),
            flows_per_gpu=text_of(config, "raycompat_flows_per_gpu"),
            gaps=paths_of(config, "raycompat_gaps"),
            gaps_mode=text_of(config, "raycompat_gaps_mode"),
            reports=paths_of(config, "raycompat_report"),
            baseline=file_of(config, "raycompat_baseline"),
            logs=file_of(config, "raycompat_logs"),
        )
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None


def command_of(config: pytest.Config, identifier: str) -> str:
    """Write the command that runs one test again, in pytest's root folder, with the options of this run."""
    given = [f"{option}={text}" for option, _, _ in TEXTS if (text := text_of(config, name_of(option))) is not None]
    given += [f"--raycompat-gaps={path}" for path in paths_of(config, "raycompat_gaps")]
    return shlex.join(["pytest", identifier, *given])


def text_of(config: pytest.Config, name: str) -> str | None:
    """Read an option that is a text; None where it is not given."""
    given: str | None = config.getoption(name)
    return given if given is not None else config.getini(name) or None


def python_of(config: pytest.Config) -> str | None:
    """Read ``--raycompat-python``; a relative path in the ini file is relative to that."""
    text = text_of(config, "raycompat_python")
    given = config.getoption("raycompat_python") is not None
    if text is None or given or config.inipath is None or "/" not in text or text.startswith("~"):
        return text
    return str(config.inipath.parent / text)


def paths_of(config: pytest.Config, name: str) -> tuple[Path, ...]:
    """Read an option that names paths: from the command line relative to where pytest runs, else to the ini file."""
    given: list[str] | None = config.getoption(name)
    if given is not None:
        return tuple(config.invocation_params.dir / path for path in given)
    return tuple(config.getini(name))


def file_of(config: pytest.Config, name: str) -> Path | None:
    """Read an option that names one path: from the command line relative to where pytest runs, else to the ini file."""
    given: str | None = config.getoption(name)
    if given is not None:
        return config.invocation_params.dir / given
    text: str = config.getini(name)
    return (config.inipath.parent if config.inipath is not None else config.rootpath) / text if text else None
