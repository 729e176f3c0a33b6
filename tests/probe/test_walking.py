from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.probe.findings import Finding

WalkProgram = Any

RAY = {
    "ray/__init__.py": "from ray._private.worker import get\nfrom ray.runtime_context import get_runtime_context\n",
    "ray/_private/worker.py": """
        from ray._private.client_mode_hook import client_mode_hook

        @client_mode_hook
        def get(object_refs, *, timeout=None): ...
        """,
    "ray/runtime_context.py": """
        from ray.util.annotations import PublicAPI

        class RuntimeContext:
            def get_node_id(self) -> str: ...

        @PublicAPI
        def get_runtime_context() -> RuntimeContext: ...
        """,
    "ray/dag/__init__.py": """
        from ray.dag.input_node import InputNode
        from ray.dag.output_node import MultiOutputNode
        """,
    "ray/dag/input_node.py": "class InputNode: ...\n",
    "ray/dag/output_node.py": "from ray.dag.dag_node import DAGNode\n\nclass MultiOutputNode(DAGNode): ...\n",
    "ray/dag/dag_node.py": """
        class DAGNode:
            def experimental_compile(self, _buffer_size_bytes=None, enable_asyncio=False): ...
        """,
    "ray/util/annotations.py": "def PublicAPI(function): return function\n",
}


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_what_is_there_is_no_finding(walk: WalkProgram) -> None:
    assert walk("import ray\nray.get([], timeout=1)\nray.get_runtime_context().get_node_id()\n", ray=RAY) == []


@pytest.mark.parametrize(
    ("program", "missing", "exception", "message"),
    [
        ("import ray.data.llm", "ray.data.llm", "ModuleNotFoundError", "No module named 'ray.data'"),
        ("from ray.dag import DAG", "ray.dag.DAG", "ImportError", "cannot import name 'DAG' from 'ray.dag'"),
        ("import ray\nray.put(1)", "ray.put", "AttributeError", "module 'ray' has no attribute 'put'"),
        (
            "import ray\nray.get_runtime_context().get_accelerator_ids()",
            "ray.runtime_context.RuntimeContext.get_accelerator_ids",
            "AttributeError",
            "'RuntimeContext' object has no attribute 'get_accelerator_ids'",
        ),
        (
            "from ray.dag import MultiOutputNode\n"
            "graph = MultiOutputNode(outputs)\n"
            "graph.experimental_compile(enable_asyncio=False, _overlap_gpu_communication=False)",
            "ray.dag.dag_node.DAGNode.experimental_compile(_overlap_gpu_communication)",
            "TypeError",
            "DAGNode.experimental_compile() got an unexpected keyword argument '_overlap_gpu_communication'",
        ),
    ],
)
def test_what_is_missing_breaks(walk: WalkProgram, program: str, missing: str, exception: str, message: str) -> None:
    finding = only(walk(program, ray=RAY))
    assert (finding.status, finding.missing) == ("breaks", missing)
    assert (finding.exception, finding.message) == (exception, message)
    assert finding.subject == "Ray 2.35.0"


@pytest.mark.parametrize(
    "program",
    [
        "import ray\nray.get([], nope=1)",  # client_mode_hook stands between
        "from ray._raylet import ObjectRef\nObjectRef.nope",  # Cython
        "import ray\nray.lazily.made",  # a module with a __getattr__
        "import ray\nray.open(nope=1)",  # **kwargs
        "import ray\nray.Handle().nope",  # a class with a __getattr__
        "import ray\nray.Model(nope=1)\nray.Model().nope",  # a base of another package
        "import ray\nray.Worker().started",  # set by a method
    ],
)
def test_where_the_sources_end_nothing_breaks(walk: WalkProgram, program: str) -> None:
    ray = RAY | {
        "ray/__init__.py": """
            from ray._private.worker import get
            from pydantic import BaseModel

            def open(**options): ...

            class Handle:
                def __getattr__(self, name): ...

            class Model(BaseModel): ...

            class Worker:
                def start(self):
                    self.started = True

            def __getattr__(name):
                return make(name)
            """,
        "ray/_raylet.so": "",
    }
    assert walk(program, ray=ray) == []


def test_a_getattr_that_serves_a_list_of_names_serves_no_others(walk: WalkProgram) -> None:
    vllm = {
        "vllm/envs.py": """
            import os
            environment_variables = {"VLLM_USE_RAY": lambda: bool(int(os.getenv("VLLM_USE_RAY", "1")))}

            def __getattr__(name):
                if name in environment_variables:
                    return environment_variables[name]()
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
            """
    }
    assert walk("import vllm.envs\nvllm.envs.VLLM_USE_RAY", vllm=vllm) == []
    finding = only(walk("from vllm import envs\nif not envs.VLLM_USE_V1: pass", vllm=vllm))
    assert finding.message == "module 'vllm.envs' has no attribute 'VLLM_USE_V1'"


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("try:\n    import ray.data\nexcept ImportError:\n    pass", "except ImportError"),
        (
            "try:\n    import ray.data\nexcept (OSError, ModuleNotFoundError):\n    pass",
            "except OSError, ModuleNotFoundError",
        ),
        ("import ray\ntry:\n    ray.put(1)\nexcept Exception:\n    pass", "except Exception"),
        ("import contextlib\nwith contextlib.suppress(ImportError):\n    import ray.data", "except ImportError"),
    ],
)
def test_what_is_caught_is_guarded(walk: WalkProgram, program: str, text: str) -> None:
    finding = only(walk(program, ray=RAY))
    assert finding.status == "guarded"
    assert finding.guard is not None and finding.guard.text == text


@pytest.mark.parametrize(
    "program",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray.data",
        "import ray\nif hasattr(ray, 'put'):\n    ray.put(1)",
        "import ray\nput = getattr(ray, 'put', None) or ray.get\nput(1)",
        "import ray\nfrom packaging.version import parse\nif parse(ray.__version__) >= parse('3'):\n    ray.put(1)",
        "import importlib.util\nif importlib.util.find_spec('ray.data') is not None:\n    import ray.data",
        "import importlib.util\nspec = importlib.util.find_spec('ray.data')\nif spec is not None:\n    import ray.data",
    ],
)
def test_what_is_not_done_on_this_pair_is_no_finding(walk: WalkProgram, program: str) -> None:
    assert walk(program, ray=RAY) == []


def test_a_handler_of_another_exception_does_not_guard(walk: WalkProgram) -> None:
    assert only(walk("import ray\ntry:\n    ray.put(1)\nexcept ImportError:\n    pass", ray=RAY)).status == "breaks"


def test_a_handler_that_raises_does_not_guard(walk: WalkProgram) -> None:
    program = """
        try:
            from vllm.entrypoints.speech import Request
        except ImportError as error:
            try:
                from sglang import Request
            except ImportError:
                raise ImportError("Neither vLLM nor SGLang is installed.") from error
        """
    finding = only(walk(program))
    assert finding.status == "breaks"
    assert finding.missing == "vllm.entrypoints.speech"
    assert finding.messages[-1] == "Neither vLLM nor SGLang is installed."


def test_a_fallback_is_walked_only_where_it_is_needed(walk: WalkProgram) -> None:
    program = "try:\n    from ray.dag import InputNode\nexcept ImportError:\n    from ray.graph import InputNode"
    assert walk(program, ray=RAY) == []
    other = program.replace("ray.dag import", "ray.dags import")
    assert only(walk(other, ray=RAY)).missing == "ray.dags"


def test_an_undecided_test_makes_it_unknown_and_names_its_line(walk: WalkProgram) -> None:
    finding = only(walk("import ray\nif parallel.size > 1:\n    ray.put(1)", ray=RAY))
    assert finding.status == "unknown"
    assert finding.guard is not None and finding.guard.text == "if parallel.size > 1:"
    assert finding.guard.line == 2


def test_what_both_ways_lack_breaks(walk: WalkProgram) -> None:
    program = "import ray\nif anything:\n    ray.put(1)\nelse:\n    ray.put(2)"
    assert [one.status for one in walk(program, ray=RAY)] == ["breaks"]


def test_a_name_that_was_set_to_none_breaks_where_it_is_used(walk: WalkProgram) -> None:
    vllm = {
        "vllm/ray_utils.py": """
            try:
                import ray
                from ray.util.placement_group import PlacementGroup
            except ImportError:
                ray = None

            def start():
                if ray is None:
                    raise ValueError("Failed to import Ray")
                ray.init()
            """
    }
    findings = walk("from vllm.ray_utils import start\nstart()", ray=RAY, vllm=vllm)
    assert [one.status for one in findings] == ["guarded", "breaks"]
    assert findings[1].missing == "ray.util.placement_group"
    assert findings[1].messages[-1] == "Failed to import Ray"


GUARD = {
    "vllm/executor.py": """
        import importlib.metadata
        from packaging import version

        class Executor:
            def check(self):
                required_version = version.parse("2.43.0")
                current_version = version.parse(importlib.metadata.version("ray"))
                if current_version < required_version:
                    raise ValueError(f"Ray version {required_version} is required, but found {current_version}")

            def compile(self):
                self.check()
                import ray.dag
        """
}


@pytest.mark.parametrize(("version", "breaks"), [("2.35.0", True), ("2.42.1", True), ("2.43.0", False)])
def test_a_version_guard_is_read(walk: WalkProgram, version: str, breaks: bool) -> None:
    program = "from vllm.executor import Executor\nExecutor(config).compile()"
    findings = walk(program, ray=RAY, vllm=GUARD, versions=(version, "0.32.0"))
    assert [one.message for one in findings] == (
        [f"Ray version 2.43.0 is required, but found {version}"] if breaks else []
    )
    assert [one.missing for one in findings] == (["ray<2.43.0"] if breaks else [])


def test_a_variable_of_vllm_has_its_default_unless_the_flow_sets_it(walk: WalkProgram) -> None:
    vllm = {
        "vllm/envs.py": """
            import os
            environment_variables = {
                "VLLM_WRAPPED": lambda: bool(int(os.getenv("VLLM_WRAPPED", "1"))),
                "VLLM_OFF": lambda: bool(int(os.getenv("VLLM_OFF", "0"))),
            }

            def __getattr__(name):
                if name in environment_variables:
                    return environment_variables[name]()
                raise AttributeError(name)
            """
    }
    program = "import vllm.envs as envs\nif envs.{}:\n    import ray.data"
    assert only(walk(program.format("VLLM_WRAPPED"), vllm=vllm)).status == "breaks"
    assert walk(program.format("VLLM_WRAPPED"), vllm=vllm, settings={"VLLM_WRAPPED": "0"}) == []
    assert walk(program.format("VLLM_OFF"), vllm=vllm) == []


def test_the_fields_of_data_classes_are_arguments_also_those_of_bases(walk: WalkProgram) -> None:
    vllm = {
        "vllm/engine/arg_utils.py": """
            from dataclasses import dataclass

            @dataclass
            class EngineArgs:
                model: str = ""

            @dataclass
            class AsyncEngineArgs(EngineArgs):
                log: bool = False
            """
    }
    program = "from vllm.engine.arg_utils import AsyncEngineArgs\nAsyncEngineArgs(**options, model='', {}=True)"
    assert walk(program.format("log"), vllm=vllm) == []
    finding = only(walk(program.format("disable_log_requests"), vllm=vllm))
    assert finding.message == "AsyncEngineArgs.__init__() got an unexpected keyword argument 'disable_log_requests'"


def test_a_name_with_several_sources_is_not_followed(walk: WalkProgram) -> None:
    program = """
        try:
            from ray.dags import Node
        except ImportError:
            from ray.dag import InputNode as Node
        Node.nope()
        """
    assert [one.status for one in walk(program, ray=RAY)] == ["guarded"]


def test_what_only_a_type_checker_sees_is_not_used(walk: WalkProgram) -> None:
    program = """
        from typing import TYPE_CHECKING, Any
        if TYPE_CHECKING:
            from ray.dag import Nope
        else:
            Nope = Any

        class Request:
            node: Nope
        """
    assert walk(program, ray=RAY) == []


ENGINE = {
    "vllm/engine/arg_utils.py": """
        from dataclasses import dataclass

        @dataclass
        class EngineArgs:
            model: str = ""
        """
}


@pytest.mark.parametrize(
    ("body", "breaks"),
    [
        ("options['task'] = 1\nEngineArgs(**options)", True),
        ("options = {'model': '', 'task': 1}\nEngineArgs(**options)", True),
        ("if anything:\n    options['task'] = 1\nEngineArgs(**options)", False),
        ("options['task'] = 1\noptions.pop('task')\nEngineArgs(**options)", False),
        ("options['task'] = 1\ndel options['task']\nEngineArgs(**options)", False),
        ("options['task'] = 1\nif anything:\n    normalize(options)\nEngineArgs(**options)", False),
    ],
)
def test_keys_of_a_dict_are_arguments_where_they_are_sure_to_be_there(
    walk: WalkProgram, body: str, breaks: bool
) -> None:
    findings = walk(f"from vllm.engine.arg_utils import EngineArgs\n{body}", vllm=ENGINE)
    assert [one.missing for one in findings] == (["vllm.engine.arg_utils.EngineArgs(task)"] if breaks else [])
