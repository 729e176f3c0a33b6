"""One run: the environment under test, its cluster, and the flows that were run in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_raycompat.capabilities import Capabilities, ask, names_of
from pytest_raycompat.cluster.authentication import Shown, variables_for, write_token
from pytest_raycompat.cluster.protocol import ClusterError
from pytest_raycompat.cluster.provider import ClusterProvider
from pytest_raycompat.environment import cache_name, child_environment, describe_versions, examine, stage_package
from pytest_raycompat.flows.needs import SHARE_GB, may_share
from pytest_raycompat.flows.runs import Display, FlowRuns
from pytest_raycompat.gaps import Gap
from pytest_raycompat.gpu_lease import GpuLeases
from pytest_raycompat.gpus import Gpu, Use, installed_gpus, read_use, visible_gpus
from pytest_raycompat.head_start import HeadStart
from pytest_raycompat.judge import Judge
from pytest_raycompat.lease import try_lock
from pytest_raycompat.lease_files import lease_folder
from pytest_raycompat.markers import Facts, plural
from pytest_raycompat.models.tiny import write_tiny_model
from pytest_raycompat.processes.children import Children
from pytest_raycompat.records import Environment, FlowResult
from pytest_raycompat.settings import Settings
from pytest_raycompat.workers import worker_count

if TYPE_CHECKING:
    from pytest_raycompat.compare.baseline import Baseline


class Session:
    """What the fixtures and the hooks share.

    Args:
        settings: what the user asked for.
        gaps: the recorded gaps.
        display: shown what goes on.
        finished: called with what each flow gave.
        shared_folder: a folder of all processes of the run, where there are several.
    """

    def __init__(
        self,
        settings: Settings,
        gaps: tuple[Gap, ...],
        display: Display,
        finished: Callable[[FlowResult], None] = lambda result: None,
        shared_folder: Path | None = None,
    ) -> None:
        self.settings = settings
        self.gaps = gaps
        self.children = Children()
        self._display = display
        self._finished = finished
        self.shared_folder = shared_folder
        self._shown: Shown | None = None
        self._log_lock: int | None = None

    @cached_property
    def environment(self) -> Environment:
        """The environment under test."""
        return examine(self.settings.python)

    @cached_property
    def baseline(self) -> Baseline | None:
        """What the run is compared with, if anything.

        Raises:
            ReportError: it cannot be compared with.
        """
        if self.settings.baseline is None:
            return None
        from pytest_raycompat.compare.baseline import Baseline

        return Baseline.read(self.settings.baseline, self.environment, self.device, self.settings.gaps_mode)

    @cached_property
    def _first_look(self) -> tuple[tuple[Gpu, ...], tuple[Use, ...]]:
        gpus = visible_gpus(installed_gpus(), os.environ)
        return gpus, read_use(gpus, holders=True)

    @property
    def visible_gpus(self) -> tuple[Gpu, ...]:
        """The real GPUs that this run may use."""
        return self._first_look[0]

    @property
    def gpu_use(self) -> tuple[Use, ...]:
        """What they were used for before anything of this run was on them."""
        return self._first_look[1]

    @cached_property
    def device(self) -> Literal["cpu", "cuda"]:
        """What flows run on."""
        if self.settings.device != "auto":
            return self.settings.device
        return "cuda" if self.visible_gpus and self.environment.vllm_build != "cpu" else "cpu"

    @property
    def flows_per_gpu(self) -> int:
        """How many flows may be on a GPU: as many as were asked for, where engines can be told what to take of it."""
        vllm = self.environment.vllm
        if vllm is not None and not may_share(vllm):
            return 1
        room = min((gpu.memory_gb for gpu in self.visible_gpus), default=0.0)
        return max(1, min(self.settings.flows_per_gpu, int(room // SHARE_GB)))

    @cached_property
    def leases(self) -> GpuLeases | None:
        """The real GPUs that this run may use, and which of them it holds; None where flows run on the CPU.

        Raises:
            LeaseError: the folder of the locks cannot be used.
        """
        if self.device == "cpu":
            return None
        return GpuLeases(
            self.visible_gpus,
            lease_folder(),
            self.flows.show_waiting,
            greedy=worker_count(os.environ) == 1,
            shares=self.flows_per_gpu,
            head_start=HeadStart(self.shared_folder, self.flows.show_waiting),
        )

    @property
    def _leases(self) -> GpuLeases | None:
        """The leases, if anything has needed them so far."""
        return self.leases if "leases" in self.__dict__ else None

    def make_way(self) -> None:
        """Between tests: give GPUs back that another process waits for."""
        if "clusters" in self.__dict__:
            self.clusters.make_way()
        elif self._leases is not None and self._leases.wanted():
            self._leases.release()

    def makes_way(self) -> bool:
        """Give GPUs back that another process waits for; tell whether none waits for any of ours any more."""
        self.make_way()
        return self._leases is None or not self._leases.wanted()

    def give_up_clusters(self) -> str | None:
        """End what is on the GPUs that this run holds; say why it cannot be, if so."""
        return self.clusters.give_up() if "clusters" in self.__dict__ else None

    @cached_property
    def folder(self) -> Path:
        """A folder of this run, removed at its end."""
        return self.children.new_folder("raycompat-run-")

    @cached_property
    def log_folder(self) -> Path:
        """Where logs stay after the run, until the next one; git does not see them.

        A run beside this one has a folder of its own there: its logs have the same names.
        """
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")  # each worker numbers its logs by itself
        logs = (self.settings.logs or self._kept_folder / "logs") / worker
        logs.mkdir(parents=True, exist_ok=True)
        self._log_lock = os.open(logs, os.O_RDONLY | os.O_DIRECTORY)
        if not try_lock(self._log_lock):
            logs /= f"run-{os.getpid()}"
            logs.mkdir(exist_ok=True)
        return logs

    @cached_property
    def _kept_folder(self) -> Path:
        folder = self.settings.folder
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        return folder

    @cached_property
    def variables(self) -> dict[str, str]:
        """The environment of everything that runs in the environment under test."""
        home, temporary = self.folder / "home", self.folder / "tmp"
        home.mkdir()
        temporary.mkdir()
        return child_environment(
            os.environ,
            staged=stage_package(self.folder),
            home=home,
            cache=self._kept_folder / "cache" / cache_name(self.environment),
            temporary=temporary,
            device=self.device,
            bytecode=self.environment.bytecode,
            workers=worker_count(os.environ),
        )

    @cached_property
    def clusters(self) -> ClusterProvider:
        """The cluster that was asked for.

        Raises:
            ClusterError: it cannot be had here.
        """
        if self.environment.ray is None:
            raise ClusterError(
                f"Ray is not installed for {self.settings.python}: install it there, "
                "or name another interpreter with --raycompat-python"
            )
        return ClusterProvider(
            self.settings.cluster,
            children=self.children,
            environment=self.environment,
            python=self.settings.python,
            device=self.device,
            leases=self.leases,
            variables=self.variables,
            token=self._token,
            log_folder=self.log_folder,
        )

    @cached_property
    def _token(self) -> Path:
        return write_token(self.folder / "token")

    def show_token(self) -> None:
        """Let this process connect to the clusters of this run, until :meth:`close`."""
        if self.clusters.spec.kind == "local" and self.environment.ray is not None:
            self._shown = Shown(os.environ, variables_for(self.environment.ray, self._token))

    @cached_property
    def tiny_model(self) -> Path:
        """The small model, written on first use."""
        return write_tiny_model(self.folder / "tiny-model")

    @cached_property
    def judge(self) -> Judge:
        """Judges what runs by the known gaps."""
        return Judge(
            self.gaps,
            self.environment,
            self.device,
            nodes=lambda: self.clusters.nodes if self.settings.active else 0,
            capability=Capabilities(
                names_of(self.gaps), lambda names: ask(self.settings.python, names, self.variables)
            ),
            mode=self.settings.gaps_mode,
        )

    @cached_property
    def flows(self) -> FlowRuns:
        """Runs flows."""
        return FlowRuns(self, self._display, self._finished)

    def facts(self) -> Facts:
        """Tell what there is, without starting anything."""
        use = self.gpu_use if self.device == "cuda" else None
        ray, vllm = self.environment.ray, self.environment.vllm
        if not self.settings.active:
            return Facts(ray, vllm, len(self.visible_gpus), 0, "this machine, no Ray cluster", use)
        clusters = self.clusters
        if clusters.spec.kind == "address":
            use = None  # of machines that are not this one
        return Facts(ray, vllm, clusters.gpus, clusters.nodes, clusters.describe(), use)

    def headline(self) -> str:
        """Say what was found, for pytest's header."""
        found = plural(len(self.visible_gpus), "GPU") if self.visible_gpus else "no GPU"
        if self.device == "cuda" and self.settings.flows_per_gpu > 1:
            found += f", {plural(self.flows_per_gpu, 'flow')} on each at most{self._why_fewer()}"
        cluster = "no cluster"
        if self.settings.active:
            note = f" ({self.clusters.note})" if self.clusters.note else ""
            cluster = f"{self.clusters.describe()}{note}"
        return f"{describe_versions(self.environment)}; {self.device}, {found}; {cluster}"

    def _why_fewer(self) -> str:
        """Say why fewer flows may be on a GPU than were asked for; nothing where as many may."""
        if self.flows_per_gpu == self.settings.flows_per_gpu:
            return ""
        vllm = self.environment.vllm
        if vllm is not None and not may_share(vllm):
            return f" (vLLM {vllm} cannot share them)"
        return f" (each takes {SHARE_GB:.0f} GiB)"

    def close(self) -> None:
        """End everything that this run started."""
        if "clusters" in self.__dict__:
            self.clusters.close()
        self.children.close()
        if self._leases is not None:
            self._leases.release()
        if self._shown is not None:
            self._shown.restore()
        if self._log_lock is not None:
            os.close(self._log_lock)
            self._log_lock = None


def git_revision(folder: Path) -> str | None:
    """Return the revision of the git checkout that ``folder`` is in; None where it is in none."""
    try:
        finished = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() or None
