"""What the user asked for, checked: from the texts of options to one frozen object. Knows nothing of pytest."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from pytest_raycompat.cluster.spec import ClusterSpec, parse_cluster_spec
from pytest_raycompat.environment import EnvironmentProblem, find_interpreter
from pytest_raycompat.files import nearest
from pytest_raycompat.records import GapsMode
from pytest_raycompat.report.formats import check_format

DEVICES = ("auto", "cuda", "cpu")
GAPS_MODES = ("run", "skip", "only")
FOLDER = Path(".raycompat")
DEFAULT_DEADLINE_S = 600.0
MOST_ON_A_GPU = 32


class SettingsError(ValueError):
    """An option has a value that is not right; names the option, what is wrong, and what would be right."""


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
    """``.raycompat`` of the root folder: the default report, logs, and what an environment keeps between runs."""
    gaps_mode: GapsMode = "run"
    """What is done about tests for which a known gap applies."""
    flows_per_gpu: int = 1
    """How many flows may be on a GPU at the same time."""
    baseline: Path | None = None
    """The report that the run is compared with."""
    logs: Path | None = None
    """Where logs go; None for ``logs`` in ``folder``."""

    @property
    def active(self) -> bool:
        """Whether there is to be a cluster."""
        return self.cluster.kind != "off"

    @classmethod
    def read(
        cls,
        *,
        root: Path,
        cluster: str | None = None,
        python: str | None = None,
        device: str | None = None,
        deadline: str | None = None,
        flows_per_gpu: str | None = None,
        gaps: tuple[Path, ...] = (),
        gaps_mode: str | None = None,
        reports: tuple[Path, ...] = (),
        baseline: Path | None = None,
        logs: Path | None = None,
    ) -> Settings:
        """Check the texts of the options; None is an option that was not given.

        Raises:
            SettingsError: one is not right.
        """
        spec = read_cluster("off" if cluster is None else cluster)
        folder = root / FOLDER
        return cls(
            cluster=spec,
            python=read_python(sys.executable if python is None else python),
            python_given=python is not None,
            device=read_device("auto" if device is None else device),
            gaps=gaps,
            gaps_mode=read_gaps_mode("run" if gaps_mode is None else gaps_mode),
            reports=read_reports(reports) or ((folder / "report.json",) if spec.kind != "off" else ()),
            flows_per_gpu=1 if flows_per_gpu is None else read_flows_per_gpu(flows_per_gpu),
            baseline=baseline,
            logs=read_logs(logs),
            deadline_s=DEFAULT_DEADLINE_S if deadline is None else read_deadline(deadline),
            folder=folder,
        )


def read_cluster(text: str) -> ClusterSpec:
    """Read ``--ray-cluster``."""
    try:
        return parse_cluster_spec(text)
    except ValueError as error:
        raise SettingsError(f"--ray-cluster: {error}") from None


def read_python(text: str) -> str:
    """Read ``--raycompat-python``."""
    try:
        return find_interpreter(text)
    except EnvironmentProblem as error:
        raise SettingsError(f"--raycompat-python: {error}") from None


def read_device(text: str) -> Literal["auto", "cuda", "cpu"]:
    """Read ``--raycompat-device``."""
    if text not in DEVICES:
        raise SettingsError(f"--raycompat-device: {text!r} is not a device: write {', '.join(DEVICES)}")
    return cast('Literal["auto", "cuda", "cpu"]', text)


def read_gaps_mode(text: str) -> GapsMode:
    """Read ``--raycompat-gaps-mode``."""
    if text not in GAPS_MODES:
        raise SettingsError(f"--raycompat-gaps-mode: {text!r} is not a mode: write {', '.join(GAPS_MODES)}")
    return cast("GapsMode", text)


def read_reports(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Read ``--raycompat-report``."""
    for path in paths:
        try:
            check_format(path, "--raycompat-report")
        except ValueError as error:
            raise SettingsError(str(error)) from None
    return paths


def read_logs(path: Path | None) -> Path | None:
    """Read ``--raycompat-logs``."""
    if path is not None and not (blocking := nearest(path)).is_dir():
        what = "is a file" if path.exists() else f"is below {blocking.name!r}, which is a file"
        raise SettingsError(f"--raycompat-logs: {str(path)!r} {what}: write the path of a folder")
    return path


def read_deadline(text: str) -> float:
    """Read ``--raycompat-deadline``, in seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"--raycompat-deadline: {text!r} is not a number of seconds above 0, such as 600")
    return seconds


def read_flows_per_gpu(text: str) -> int:
    """Read ``--raycompat-flows-per-gpu``."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= MOST_ON_A_GPU:
        wanted = f"write a whole number from 1 to {MOST_ON_A_GPU}"
        raise SettingsError(f"--raycompat-flows-per-gpu: {text!r} is not a number of flows: {wanted}")
    return number
