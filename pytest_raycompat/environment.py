"""What the environment under test has: asked of its interpreter, without importing Ray, vLLM or torch there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

import pytest_raycompat
from pytest_raycompat import environment_program
from pytest_raycompat.platforms import ACTIVATION_VARIABLE, SPARE_VARIABLE
from pytest_raycompat.records import Environment

PROBE_LIMIT_S = 30.0


class EnvironmentProblem(Exception):
    """The interpreter under test cannot be used; says what is wrong and what would be right."""


def find_interpreter(path: str) -> str:
    """Return the absolute path of the interpreter that ``path`` names, not resolving the links of a venv.

    Raises:
        EnvironmentProblem: there is no such executable file.
    """
    expanded = os.path.expanduser(path)  # no shell does it behind an equals sign
    found = shutil.which(expanded)
    if found is None:
        folder = Path(expanded)
        inside = folder / "bin" / "python"
        hint = f"; did you mean {inside}?" if inside.is_file() else ": give the path of a Python interpreter"
        what = "is a folder" if folder.is_dir() else "is not an executable file"
        raise EnvironmentProblem(f"{path!r} {what}{hint}")
    return os.path.abspath(found)


def examine(python: str) -> Environment:
    """Read what the environment of the interpreter ``python`` has.

    Raises:
        EnvironmentProblem: it does not run, or does not answer as a Python does.
    """
    if python == os.path.abspath(sys.executable):
        return msgspec.convert(environment_program.describe(), Environment)
    try:
        finished = subprocess.run(
            [python, environment_program.__file__],  # not isolated: the flows are not, either
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            timeout=PROBE_LIMIT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise EnvironmentProblem(f"{python!r} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise EnvironmentProblem(f"{python!r} did not say its versions within {PROBE_LIMIT_S:.0f} s") from None
    try:
        return msgspec.json.decode(finished.stdout, type=Environment)
    except (msgspec.DecodeError, msgspec.ValidationError):
        last = (finished.stderr or finished.stdout).strip().splitlines()[-1:] or ["it printed nothing"]
        raise EnvironmentProblem(f"{python!r} is not a Python 3.9 or newer: {last[0]}") from None


def stage_package(folder: Path) -> Path:
    """Make a folder that, on ``PYTHONPATH``, gives any interpreter our flows and our vLLM platform, and nothing else.

    The environment under test need not have this package installed, and must not see the rest of ours.
    """
    staged = folder / "site"
    staged.mkdir()
    (staged / "pytest_raycompat").symlink_to(Path(pytest_raycompat.__file__).parent, target_is_directory=True)
    information = staged / f"pytest_raycompat-{pytest_raycompat.__version__}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: pytest-raycompat\nVersion: {pytest_raycompat.__version__}\n"
    )
    (information / "entry_points.txt").write_text(
        "[vllm.platform_plugins]\nraycompat_cpu = pytest_raycompat.platforms:activate\n"
    )
    return staged


def child_environment(
    base: Mapping[str, str],
    *,
    staged: Path,
    home: Path,
    cache: Path,
    temporary: Path,
    device: str,
    bytecode: bool = True,
    workers: int = 1,
) -> dict[str, str]:
    """Return the environment of everything that runs in the environment under test.

    Variables of a Ray that is not ours go, so that nothing connects there by accident. ``HOME`` is ours: a local
    ``ray.init()`` writes ``~/.ray/auth_token`` (Ray 2.59 and newer), vLLM writes ``~/.config/vllm`` and more.
    ``cache`` outlives the run: what vLLM finds out about a model's class costs each first engine 20 s (vLLM 0.32.0),
    and the kernels that Triton compiles for it 16 s (vLLM 0.26.0 on an H200).
    ``temporary`` does not: vLLM leaves a socket there for each engine (``get_open_zmq_ipc_path``, 0.32.0), and whatever
    is ended at its deadline what it had there.
    Where there is no ``bytecode`` and ``base`` forbids to write any, that is kept there too: torch alone would be
    compiled for 17 s by each of a flow's processes (torch 2.11, seen).
    ``workers`` are those of the run, that share the machine.
    """
    ours = {
        key: value
        for key, value in base.items()
        if not key.startswith(("RAY_", "PYTEST_")) and key not in ("VLLM_HOST_IP", "PYTHONHOME")
    }
    ours["PYTHONPATH"] = os.pathsep.join(part for part in (str(staged), base.get("PYTHONPATH")) if part)
    ours["PYTHONUNBUFFERED"] = "1"
    if "HOME" in base:  # packages installed with `pip install --user` stay visible
        ours.setdefault("PYTHONUSERBASE", str(Path(base["HOME"]) / ".local"))
    ours["HOME"] = str(home)
    ours["TMPDIR"] = str(temporary)
    ours.setdefault("VLLM_CACHE_ROOT", str(cache))
    ours.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))  # a temporary folder's by default
    ours.setdefault("TRITON_CACHE_DIR", str(cache / "triton"))
    ours.setdefault("CUDA_CACHE_PATH", str(cache / "cuda"))
    if not bytecode and ours.pop("PYTHONDONTWRITEBYTECODE", ""):
        ours.setdefault("PYTHONPYCACHEPREFIX", str(cache / "bytecode"))
    ours["RAY_USAGE_STATS_ENABLED"] = "0"
    ours["VLLM_NO_USAGE_STATS"] = "1"
    if device == "cpu":
        ours[ACTIVATION_VARIABLE] = "1"
        # the engines are eager, but vLLM compiles its log-probabilities (v1/sample/ops/logprobs.py, 0.32.0):
        # on a CPU that costs each worker's first step seconds
        ours.setdefault("TORCHDYNAMO_DISABLE", "1")
    elif workers > 1:  # a single one may measure, on GPUs, what the collector costs too
        ours[SPARE_VARIABLE] = "1"
    return ours


def describe_versions(environment: Environment) -> str:
    """Say the versions in a few words: ``Ray 2.60.0, vLLM 0.32.0, torch 2.13.0+cpu, Python 3.11.7``."""
    named = (("Ray", environment.ray), ("vLLM", environment.vllm), ("torch", environment.torch))
    parts = [f"{name} {version}" if version else f"no {name}" for name, version in named]
    return ", ".join([*parts, f"Python {environment.python}"])


def cache_name(environment: Environment) -> str:
    """Name a folder for what an environment may keep between runs; that it has got bytecode since changes nothing."""
    same = msgspec.structs.replace(environment, bytecode=True)
    key = hashlib.sha256(msgspec.json.encode(same)).hexdigest()[:12]
    return f"ray-{environment.ray}-vllm-{environment.vllm}-{key}"
