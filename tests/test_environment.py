from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import pytest_raycompat
from pytest_raycompat import environment
from pytest_raycompat.environment import (
    EnvironmentProblem,
    cache_name,
    child_environment,
    describe_versions,
    examine,
    find_interpreter,
    stage_package,
)
from pytest_raycompat.records import Environment

PYTHON = ".".join(map(str, sys.version_info[:3]))


def refusal(path: str) -> str:
    with pytest.raises(EnvironmentProblem) as caught:
        find_interpreter(path)
    return str(caught.value)


def test_an_interpreter_is_found_by_its_path() -> None:
    assert find_interpreter(sys.executable) == sys.executable


def test_a_relative_path_becomes_absolute_without_leaving_the_venv(
    make_interpreter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    python = make_interpreter()
    assert python.is_symlink()
    monkeypatch.chdir(python.parent.parent)
    assert find_interpreter("bin/python") == str(python)
    assert find_interpreter("./bin/../bin/python") == str(python)


def test_a_name_is_looked_up_as_a_shell_does(
    make_program: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make_program("exit 0")
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_interpreter("program") == str(program)


def test_a_path_from_the_home_folder_is_found(
    make_program: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make_program("exit 0")
    monkeypatch.setenv("HOME", str(program.parent))
    assert find_interpreter("~/program") == str(program)


def test_a_missing_interpreter_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "python")
    assert refusal(path) == f"{path!r} is not an executable file: give the path of a Python interpreter"


def test_a_name_that_is_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert refusal("python9") == "'python9' is not an executable file: give the path of a Python interpreter"


def test_a_file_that_cannot_be_executed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\n")
    assert refusal(str(path)) == f"{str(path)!r} is not an executable file: give the path of a Python interpreter"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == f"{str(tmp_path)!r} is a folder: give the path of a Python interpreter"


def test_the_folder_of_a_venv_is_refused_with_its_interpreter(make_interpreter: Callable[..., Path]) -> None:
    python = make_interpreter()
    venv = str(python.parent.parent)
    assert refusal(venv) == f"{venv!r} is a folder; did you mean {python}?"


def problem_of(program: Path) -> str:
    with pytest.raises(EnvironmentProblem) as caught:
        examine(str(program))
    message = str(caught.value)
    assert message.startswith(repr(str(program)))
    return message.removeprefix(repr(str(program)))


def test_this_environment_is_examined() -> None:
    found = examine(sys.executable)
    assert (found.executable, found.python) == (sys.executable, PYTHON)
    assert found.default_executor in {None, *found.executors}
    assert {found.vllm is None, found.vllm_build is None, found.executors == ()} in ({True}, {False})


def test_an_empty_environment_is_examined(make_interpreter: Callable[..., Path]) -> None:
    python = make_interpreter()
    found = examine(str(python))
    assert found == Environment(executable=str(python), python=PYTHON, platform=examine(sys.executable).platform)


def test_versions_are_those_installed_in_the_other_environment(make_interpreter: Callable[..., Path]) -> None:
    found = examine(str(make_interpreter({"ray": "2.35.0+corp.3", "torch": "2.7.1+cu126"})))
    assert (found.ray, found.torch, found.vllm) == ("2.35.0+corp.3", "2.7.1+cu126", None)


def test_an_environment_is_examined_whatever_surrounds_it(
    make_interpreter: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "platform"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    assert examine(str(make_interpreter({"ray": "2.60.0"}))).ray == "2.60.0"


def test_what_pip_install_user_has_installed_is_seen_as_the_flows_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path))
    site = Path(sysconfig.get_path("purelib", "posix_user", {"userbase": str(tmp_path)}))
    (site / "ray-2.35.0.dist-info").mkdir(parents=True)
    (site / "ray-2.35.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.35.0\n")
    question = "import importlib.metadata; print(importlib.metadata.version('ray'))"
    seen = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True).stdout.strip()
    assert seen == "2.35.0"
    assert examine(str(python)).ray == seen


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo garbage; echo more garbage", " is not a Python 3.9 or newer: more garbage"),
        ("echo '{}'", " is not a Python 3.9 or newer: {}"),
        ("""echo '{"executable": 7}'""", """ is not a Python 3.9 or newer: {"executable": 7}"""),
        (
            "echo output; echo SyntaxError: invalid syntax >&2; exit 1",
            " is not a Python 3.9 or newer: SyntaxError: invalid syntax",
        ),
        ("exit 3", " is not a Python 3.9 or newer: it printed nothing"),
        (r"printf '\377\376'", " is not a Python 3.9 or newer: \ufffd\ufffd"),
    ],
    ids=["text", "other JSON", "wrong type", "error", "nothing", "bytes"],
)
def test_what_is_not_a_python_is_refused(make_program: Callable[[str], Path], script: str, problem: str) -> None:
    assert problem_of(make_program(script)) == problem


def test_what_does_not_start_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/nowhere/python\n")
    program.chmod(0o755)
    assert problem_of(program) == " cannot be run: No such file or directory"


def test_what_does_not_answer_is_refused(make_program: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PROBE_LIMIT_S", 0.2)
    assert problem_of(make_program("exec sleep 60")) == " did not say its versions within 0 s"


ASK_FOR_PLUGINS = """
import importlib.metadata, json, sys
(found,) = importlib.metadata.entry_points(group="vllm.platform_plugins")
import pytest_raycompat
print(json.dumps({
    "name": found.name,
    "answer": found.load()(),
    "version": importlib.metadata.version("pytest-raycompat"),
    "file": pytest_raycompat.__file__,
    "modules": sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names),
}))
"""


@pytest.mark.parametrize(
    ("device", "answer"), [("cpu", "pytest_raycompat.platforms.cpu.RayCpuPlatform"), ("cuda", None)]
)
def test_a_staged_package_is_found_by_vllms_plugin_loader(
    make_interpreter: Callable[..., Path], tmp_path: Path, device: str, answer: str | None
) -> None:
    staged = stage_package(tmp_path)
    variables = child_environment(
        {}, staged=staged, home=tmp_path / "home", cache=tmp_path / "cache", temporary=tmp_path, device=device
    )
    asked = subprocess.run(
        [make_interpreter(), "-c", ASK_FOR_PLUGINS], env=variables, cwd="/", capture_output=True, text=True, check=True
    )
    assert json.loads(asked.stdout) == {
        "name": "raycompat_cpu",
        "answer": answer,
        "version": pytest_raycompat.__version__,
        "file": str(staged / "pytest_raycompat" / "__init__.py"),
        "modules": ["__main__", "pytest_raycompat"],
    }


def test_a_staged_package_brings_nothing_else_of_ours(tmp_path: Path) -> None:
    assert sorted(path.name for path in stage_package(tmp_path).iterdir()) == [
        "pytest_raycompat",
        f"pytest_raycompat-{pytest_raycompat.__version__}.dist-info",
    ]


def variables_of(
    base: dict[str, str], device: str = "cuda", *, bytecode: bool = True, workers: int = 1
) -> dict[str, str]:
    return child_environment(
        base,
        staged=Path("/run/site"),
        home=Path("/run/home"),
        cache=Path("/kept"),
        temporary=Path("/run/tmp"),
        device=device,
        bytecode=bytecode,
        workers=workers,
    )


ALWAYS = {
    "PYTHONPATH": "/run/site",
    "PYTHONUNBUFFERED": "1",
    "HOME": "/run/home",
    "TMPDIR": "/run/tmp",
    "VLLM_CACHE_ROOT": "/kept",
    "TRITON_CACHE_DIR": "/kept/triton",
    "CUDA_CACHE_PATH": "/kept/cuda",
    "TORCHINDUCTOR_CACHE_DIR": "/kept/inductor",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def test_what_every_child_is_given() -> None:
    assert variables_of({}) == ALWAYS


def test_a_cpu_node_activates_our_platform() -> None:
    assert variables_of({}, "cpu") == ALWAYS | {"PYTEST_RAYCOMPAT_CPU_PLATFORM": "1", "TORCHDYNAMO_DISABLE": "1"}


@pytest.mark.parametrize(("device", "workers"), [("cuda", 1), ("cpu", 2)])
def test_a_single_worker_on_gpus_may_measure_what_the_collector_costs(device: str, workers: int) -> None:
    assert "PYTEST_RAYCOMPAT_SPARE_COLLECTIONS" not in variables_of({}, device, workers=workers)


def test_workers_that_share_the_cores_of_gpus_spare_collections() -> None:
    assert variables_of({}, workers=2) == ALWAYS | {"PYTEST_RAYCOMPAT_SPARE_COLLECTIONS": "1"}


def test_the_users_variables_stay() -> None:
    mine = {"PATH": "/bin", "VLLM_LOGGING_LEVEL": "DEBUG", "CUDA_VISIBLE_DEVICES": "0", "NCCL_DEBUG": "INFO"}
    assert variables_of(mine) == ALWAYS | mine


def test_a_ray_that_is_not_ours_stays_out() -> None:
    theirs = {
        "RAY_ADDRESS": "10.0.0.1:6379",
        "RAY_AUTH_TOKEN": "secret",
        "RAY_RUNTIME_ENV_HOOK": "corp.hook",
        "RAY_USAGE_STATS_ENABLED": "1",
        "VLLM_HOST_IP": "10.0.0.2",
    }
    assert variables_of(theirs) == ALWAYS


def test_what_belongs_to_the_process_of_pytest_stays_out() -> None:
    theirs = {
        "PYTEST_CURRENT_TEST": "test_a",
        "PYTEST_ADDOPTS": "-n 2",
        "PYTEST_RAYCOMPAT_OWNER": "0123",
        "PYTEST_RAYCOMPAT_CPU_PLATFORM": "1",
        "PYTHONHOME": "/usr",
        "VLLM_NO_USAGE_STATS": "0",
    }
    assert variables_of(theirs) == ALWAYS


def test_ours_comes_before_the_users_python_path() -> None:
    assert variables_of({"PYTHONPATH": "/mine:/more"})["PYTHONPATH"] == os.pathsep.join(["/run/site", "/mine:/more"])


def test_an_empty_python_path_does_not_add_the_working_folder() -> None:
    assert variables_of({"PYTHONPATH": ""})["PYTHONPATH"] == "/run/site"


def test_the_home_is_ours_and_user_packages_stay_visible() -> None:
    assert variables_of({"HOME": "/home/me"}) == ALWAYS | {"PYTHONUSERBASE": "/home/me/.local"}
    assert variables_of({"HOME": "/home/me", "PYTHONUSERBASE": "/else"}) == ALWAYS | {"PYTHONUSERBASE": "/else"}


def test_bytecode_that_may_not_be_written_where_there_is_none_is_kept_in_the_cache() -> None:
    base = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert variables_of(base, bytecode=False) == ALWAYS | {"PYTHONPYCACHEPREFIX": "/kept/bytecode"}
    mine = {"PYTHONPYCACHEPREFIX": "/mine"}
    assert variables_of(base | mine, bytecode=False) == ALWAYS | mine
    assert variables_of(base) == ALWAYS | base
    assert variables_of({}, bytecode=False) == ALWAYS


def test_whether_there_is_bytecode_is_examined(make_interpreter: Callable[..., Path]) -> None:
    python = make_interpreter({"torch": "2.7.1+bytecode"})  # which no other test has
    (package,) = python.parents[1].glob("lib/python*/site-packages")
    assert examine(str(python)).bytecode is True  # nothing large is there
    (package / "torch").mkdir()
    (package / "torch" / "__init__.py").touch()
    assert examine(str(python)).bytecode is False
    (package / "torch" / "__pycache__").mkdir()
    assert examine(str(python)).bytecode is True


@pytest.mark.parametrize("name", ["VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH", "TORCHINDUCTOR_CACHE_DIR"])
def test_the_users_cache_stays(name: str) -> None:
    assert variables_of({name: "/big/disk"}) == ALWAYS | {name: "/big/disk"}


FULL = Environment(
    executable="/usr/bin/python3", python="3.11.7", platform="Linux", ray="2.35.0+corp.3", vllm="0.32.0", torch="2.7.1"
)
BARE = Environment(executable="/usr/bin/python3", python="3.11.7", platform="Linux")


def test_versions_in_a_few_words() -> None:
    assert describe_versions(FULL) == "Ray 2.35.0+corp.3, vLLM 0.32.0, torch 2.7.1, Python 3.11.7"
    assert describe_versions(BARE) == "no Ray, no vLLM, no torch, Python 3.11.7"


def test_environments_keep_nothing_in_common() -> None:
    names = [cache_name(FULL), cache_name(BARE)]
    assert re.fullmatch(r"ray-2\.35\.0\+corp\.3-vllm-0\.32\.0-[0-9a-f]{12}", names[0])
    assert re.fullmatch(r"ray-None-vllm-None-[0-9a-f]{12}", names[1])
    assert cache_name(FULL) == names[0]
    assert cache_name(msgspec.structs.replace(FULL, bytecode=False)) == names[0]  # its first run made some
