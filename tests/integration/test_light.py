from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFTEST = """
import json, sys

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        with open("modules.json", "w") as stream:
            json.dump(sorted(sys.modules), stream)
"""
ALL_OF_OURS = {
    "pytest_raycompat",
    "pytest_raycompat.fixtures",
    "pytest_raycompat.hookspecs",
    "pytest_raycompat.options",
    "pytest_raycompat.plugin",
    "pytest_raycompat.state",
}


@pytest.fixture
def modules_of(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> Callable[..., tuple[pytest.RunResult, set[str]]]:
    """Run pytest on what is there; return how it went and the modules that its process has loaded at the end."""
    pytester.makeconftest(CONFTEST)

    def run(*arguments: str) -> tuple[pytest.RunResult, set[str]]:
        result = run_pytest(*arguments)
        return result, set(json.loads((pytester.path / "modules.json").read_text()))

    return run


def foreign(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names


def test_a_run_that_needs_nothing_of_ours_loads_nothing_of_ours(
    pytester: pytest.Pytester,
    modules_of: Callable[..., tuple[pytest.RunResult, set[str]]],
    plugin_arguments: tuple[str, ...],
) -> None:
    pytester.makepyfile("def test_a(tmp_path): pass")
    _, without = modules_of("-p", "no:raycompat", *plugin_arguments)
    result, loaded = modules_of(*plugin_arguments)
    result.assert_outcomes(passed=1)
    assert foreign(loaded - without) == {"pytest_raycompat"}
    assert {name for name in loaded if name.startswith("pytest_raycompat")} == ALL_OF_OURS | (
        {"pytest_raycompat.distribution", "pytest_raycompat.nodeids"} if "-n" in plugin_arguments else set()
    )
    assert not foreign(loaded) & {"ray", "vllm", "torch", "numpy", "msgspec", "psutil", "pynvml"}


def test_no_run_loads_what_it_tests(
    pytester: pytest.Pytester,
    modules_of: Callable[..., tuple[pytest.RunResult, set[str]]],
    make_interpreter: Callable[..., Path],
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.ray_version(">=999")
        @pytest.mark.vllm_version(">=999")
        @pytest.mark.gpus(999)
        def test_skipped(): pass

        @pytest.mark.known_gap("cgraph-version-guard")
        def test_a(tiny_model, free_port): pass

        def test_b(run_flow): pass
        """
    )
    _, without = modules_of("-p", "no:raycompat")
    python = make_interpreter({"ray": "2.60.0", "vllm": "0.32.0"})
    result, loaded = modules_of("--raycompat-report=r.json", f"--raycompat-python={python}")
    result.assert_outcomes(passed=1, skipped=2)
    added = foreign(loaded - without)
    assert {"pytest_raycompat", "msgspec"} <= added
    assert added <= {"pytest_raycompat", "msgspec", "packaging", "psutil", "pynvml", "typing_extensions"}


def test_the_plugin_can_be_left_out(pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile("def test_a(ray_cluster): pass")
    result = run_pytest("-p", "no:raycompat")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'ray_cluster' not found"])
