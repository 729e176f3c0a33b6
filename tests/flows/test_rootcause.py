from __future__ import annotations

import textwrap

import pytest

from pytest_raycompat.flows.rootcause import MOST_LINES, find_tracebacks, root_first
from pytest_raycompat.records import ExceptionRecord

ENGINE = "(EngineCore pid=71) ERROR 11-22 12:56:22 [core.py:1104] "
WORKER_2 = "\x1b[36m(RayWorkerProc pid=12, ip=127.0.0.3)\x1b[0m "
WORKER_3 = "\x1b[36m(RayWorkerProc pid=13, ip=127.0.0.4)\x1b[0m "
DEDUPLICATED = (
    "\x1b[32m [repeated 1x across cluster] (Ray deduplicates logs by default. Set RAY_DEDUP_LOGS=0 to disable log "
    "deduplication, or see https://docs.ray.io/en/master/ray-observability/user-guides/configure-logging.html "
    "for more options.)\x1b[0m"
)


def printed(prefix: str, text: str) -> str:
    """A text as one process prints it: each line behind its prefix."""
    return "".join(f"{prefix}{line}\n" for line in textwrap.dedent(text).strip("\n").split("\n"))


def pairs(records: tuple[ExceptionRecord, ...] | list[ExceptionRecord]) -> list[tuple[str, str, str]]:
    return [(record.process, record.type, record.message) for record in records]


GUARD = """
Traceback (most recent call last):
  File "/env/vllm/v1/engine/core.py", line 1095, in run_engine_core
    engine_core.run_busy_loop()
  File "/env/vllm/v1/executor/ray_executor.py", line 420, in _check_ray_cgraph_installation
    raise ValueError(
ValueError: Ray version 2.43.0 is required, but found 2.35.0
"""
DRIVER = """
Traceback (most recent call last):
  File "/env/pytest_raycompat/flows/reporting.py", line 102, in run_program
    body(reporter)
  File "/env/vllm/v1/engine/core_client.py", line 700, in get_output
    raise self._format_exception(outputs) from None
vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.
"""
EDGES_OF_THE_LOG = (
    "Triton is installed, but doesn't include CPU backend. Disabling Triton.\n"
    "(MainProcess pid=70) INFO 11-22 12:56:20 [model.py:733] Resolved architecture: LlamaForCausalLM\n"
    "2026-11-22 12:56:21,606\tINFO worker.py:1598 -- Connecting to existing Ray cluster at address: 127.0.0.2:6379...\n"
)
REPORTED = ExceptionRecord(
    type="vllm.v1.engine.exceptions.EngineDeadError",
    message="EngineCore encountered an issue. See stack trace (above) for the root cause.",
    process="driver",
)
GUARD_FOUND = ("EngineCore pid=71", "ValueError", "Ray version 2.43.0 is required, but found 2.35.0")


def test_the_root_cause_is_the_error_of_the_engines_process() -> None:
    log = (
        EDGES_OF_THE_LOG
        + ENGINE
        + "EngineCore encountered a fatal error.\n"
        + printed(ENGINE, GUARD)
        + printed("", DRIVER)
    )
    assert pairs(root_first(log, [REPORTED])) == [GUARD_FOUND, ("driver", REPORTED.type, REPORTED.message)]


def test_a_traceback_is_kept_without_what_is_printed_before_it() -> None:
    (record,) = find_tracebacks(printed(ENGINE, GUARD))
    assert record.traceback.split("\n") == GUARD.strip("\n").split("\n")[1:-1]


def test_an_error_of_a_worker_comes_before_what_its_engine_makes_of_it() -> None:
    log = printed(
        WORKER_2 + "ERROR 11-22 12:56:21 [ray_executor_v2.py:480] ",
        """
        Worker failed with an exception.
        Traceback (most recent call last):
          File "/env/vllm/v1/executor/ray_executor_v2.py", line 471, in worker_busy_loop
            output = func(*args, **kwargs)
        torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
        """,
    ) + printed(
        ENGINE,
        """
        Traceback (most recent call last):
          File "/env/vllm/v1/engine/core.py", line 1095, in run_engine_core
            raise RuntimeError(
        RuntimeError: Worker failed with error 'CUDA out of memory.'
        """,
    )
    assert pairs(root_first(log, [REPORTED])) == [
        (
            "RayWorkerProc pid=12, ip=127.0.0.3",
            "torch.OutOfMemoryError",
            "CUDA out of memory. Tried to allocate 2.00 GiB.",
        ),
        ("EngineCore pid=71", "RuntimeError", "Worker failed with error 'CUDA out of memory.'"),
        ("driver", REPORTED.type, REPORTED.message),
    ]


def test_a_worker_is_named_by_its_own_line_not_by_the_process_that_passes_it_on() -> None:
    prefix = f"(EngineCore_DP0 pid=71) {WORKER_2}(Worker_TP1 pid=12) ERROR 11-22 12:56:22 [multiproc_executor.py:12] "
    assert pairs(find_tracebacks(printed(prefix, GUARD))) == [("Worker_TP1 pid=12", *GUARD_FOUND[1:])]


def test_a_name_behind_the_level_counts_too() -> None:
    prefix = "ERROR 11-22 12:56:22 [core.py:1104] (EngineCore pid=71) "
    assert pairs(find_tracebacks(printed(prefix, GUARD))) == [GUARD_FOUND]


def test_a_process_that_does_not_name_itself_is_known_by_the_file_that_logs_its_end() -> None:
    log = (
        EDGES_OF_THE_LOG
        + printed("ERROR 08-01 12:56:22 [core.py:634] ", "EngineCore encountered a fatal error." + GUARD)
        + printed("", "Process EngineCore_0:" + GUARD)
        + printed("", DRIVER)
    )  # vLLM 0.10.0
    found = root_first(log, [REPORTED])
    assert pairs(found) == [("EngineCore", *GUARD_FOUND[1:]), ("driver", REPORTED.type, REPORTED.message)]


@pytest.mark.parametrize(
    "name",
    [
        "ServeController pid=9, ip=127.0.0.2",
        "RayWorkerWrapper pid=9",
        "ServeReplica:default:LLMServer pid=9",
        "pid=9, ip=127.0.0.2",
        "MapWorker(MapBatches(vLLMEngineStageUDF)) pid=9, ip=127.0.0.2",
        "ServeReplica:default:LLMServer:tiny-model pid=9",
    ],
)
def test_names_that_ray_gives_its_processes(name: str) -> None:
    assert pairs(find_tracebacks(printed(f"\x1b[36m({name})\x1b[0m ", GUARD))) == [(name, *GUARD_FOUND[1:])]


def test_processes_that_print_at_the_same_time_are_kept_apart() -> None:
    other = """
    Traceback (most recent call last):
      File "/env/vllm/v1/worker/worker.py", line 10, in init_device
        torch.distributed.init_process_group()
      File "/env/torch/distributed/rendezvous.py", line 20, in _create_c10d_store
        raise TimeoutError("no rendezvous")
    TimeoutError: no rendezvous
    """
    lines = zip(
        printed(ENGINE, GUARD).splitlines(keepends=True),
        printed(WORKER_2, other).splitlines(keepends=True),
        strict=True,
    )
    log = "".join(line for pair in lines for line in pair)
    found = find_tracebacks(log)
    assert pairs(found) == [GUARD_FOUND, ("RayWorkerProc pid=12, ip=127.0.0.3", "TimeoutError", "no rendezvous")]
    assert found[1].traceback.split("\n")[-1] == '    raise TimeoutError("no rendezvous")'


def test_every_rank_of_an_engine_fails_but_the_error_is_one() -> None:
    log = printed(WORKER_2, GUARD) + printed(WORKER_3, GUARD) + printed(ENGINE, GUARD)
    assert pairs(root_first(log, [])) == [("RayWorkerProc pid=12, ip=127.0.0.3", *GUARD_FOUND[1:])]


def test_lines_that_ray_leaves_out_add_nothing() -> None:
    left_out = "".join(line + DEDUPLICATED + "\n" for line in printed(WORKER_3, GUARD).splitlines())
    log = printed(WORKER_2, GUARD) + left_out
    assert pairs(root_first(log, [])) == [("RayWorkerProc pid=12, ip=127.0.0.3", *GUARD_FOUND[1:])]


WRAPPERS = [
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for it.",
    "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
]


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=["initialization", "dead engine", "dead actor"])
def test_an_error_that_only_says_that_another_process_failed_is_no_cause(wrapper: str) -> None:
    body = f'Traceback (most recent call last):\n  File "/env/vllm/x.py", line 1, in f\n    f()\n{wrapper}\n'
    log = printed("(APIServer pid=70) ", body) + printed(ENGINE, GUARD)
    assert [record.type for record in find_tracebacks(log)] == [wrapper.partition(":")[0], "ValueError"]
    assert pairs(root_first(log, [])) == [GUARD_FOUND]


CHAINED = """
Traceback (most recent call last):
  File "/env/vllm/a.py", line 1, in connect
    socket.connect()
ConnectionRefusedError: [Errno 111] Connection refused

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/env/vllm/a.py", line 3, in start
    raise ray.exceptions.RaySystemError("no GCS") from error
ray.exceptions.RaySystemError: System error: no GCS

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/env/vllm/a.py", line 5, in close
    self.executor.shutdown()
AttributeError: 'EngineCoreProc' object has no attribute 'executor'
"""


def test_what_keeps_an_actor_from_being_made_is_the_cause_not_what_its_resource_tracker_prints() -> None:
    log = printed(
        "(server pid=4925) (APIServer pid=4925) \x1b[36m(EngineCoreActor pid=5353)\x1b[0m ",
        """
        Exception raised in creation task: The actor died because of an error raised in its creation task, \x1b[36mray
                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          File "/env/vllm/v1/executor/ray_executor_v2.py", line 349, in _init_executor
            .remote(
          File "/env/ray/actor.py", line 1866, in _remote
            raise ActorAlreadyExistsError(
        ray.exceptions.ActorAlreadyExistsError: The name vllm_Worker_17 (namespace=None) is already taken.
        /usr/lib/python3.12/multiprocessing/resource_tracker.py:123: UserWarning: resource_tracker: process died
          warnings.warn('resource_tracker: process died unexpectedly, '
        Traceback (most recent call last):
          File "/usr/lib/python3.12/multiprocessing/resource_tracker.py", line 239, in main
            cache[rtype].remove(name)
        KeyError: '/psm_f462e09e'
        """,
    )
    said = "the server ended with status 1 before it was healthy"
    ended = ExceptionRecord(type="RuntimeError", message=said, process="driver")
    assert pairs(root_first(log, (ended,))) == [
        (
            "EngineCoreActor pid=5353",
            "ray.exceptions.ActorAlreadyExistsError",
            "The name vllm_Worker_17 (namespace=None) is already taken.",
        ),
        ("driver", "RuntimeError", said),
    ]


def test_a_request_that_serve_llm_refuses_is_no_cause() -> None:
    log = """\
(ServeReplica:app:OpenAiIngress pid=7) WARNING 2026-11-22 17:18:48 app -- Encountered failure while handling request 8b
(ServeReplica:app:OpenAiIngress pid=7) Traceback (most recent call last):
(ServeReplica:app:OpenAiIngress pid=7)   File "ingress.py", line 494, in _process_llm_request
(ServeReplica:app:OpenAiIngress pid=7)     raise OpenAIHTTPException(
(ServeReplica:app:OpenAiIngress pid=7) ray.llm._internal.serve.core.configs.openai_api_models.OpenAIHTTPException
"""
    assert len(find_tracebacks(log)) == 1
    assert root_first(log, ()) == ()


def test_a_chain_goes_from_its_cause_to_what_followed() -> None:
    assert pairs(root_first(printed(ENGINE, CHAINED), [REPORTED])) == [
        ("EngineCore pid=71", "ConnectionRefusedError", "[Errno 111] Connection refused"),
        ("EngineCore pid=71", "ray.exceptions.RaySystemError", "System error: no GCS"),
        ("EngineCore pid=71", "AttributeError", "'EngineCoreProc' object has no attribute 'executor'"),
        ("driver", REPORTED.type, REPORTED.message),
    ]


def test_of_a_message_in_several_lines_the_first_is_kept() -> None:
    log = printed(
        ENGINE,
        """
        Traceback (most recent call last):
          File "/env/vllm/config.py", line 1, in f
            VllmConfig()
        pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig
          Value error, tensor_parallel_size must be 1 [type=value_error]
            For further information visit https://errors.pydantic.dev
        done
        """,
    )
    assert pairs(find_tracebacks(log)) == [
        (
            "EngineCore pid=71",
            "pydantic_core._pydantic_core.ValidationError",
            "1 validation error for VllmConfig",
        )
    ]


def test_what_was_reported_is_not_found_again_in_the_log() -> None:
    reported = ExceptionRecord(
        type="ValueError", message="Ray version 2.43.0 is required, but found 2.35.0\nsee the docs", process="driver"
    )
    assert root_first(printed("(MainProcess pid=70) ", GUARD), [reported]) == (reported,)


def test_the_same_message_of_another_type_is_another_error() -> None:
    reported = ExceptionRecord(
        type="RuntimeError", message="Ray version 2.43.0 is required, but found 2.35.0", process="driver"
    )
    assert pairs(root_first(printed(ENGINE, GUARD), [reported]))[0] == GUARD_FOUND


def test_the_reported_chain_keeps_its_order_and_its_wrappers() -> None:
    chain = [REPORTED, ExceptionRecord(type="ValueError", message="b"), ExceptionRecord(type="KeyError", message="a")]
    assert root_first("", iter(chain)) == tuple(chain)


def test_the_flows_own_traceback_is_the_one_that_it_reports() -> None:
    assert root_first(printed("", DRIVER), [REPORTED]) == (REPORTED,)


def test_the_flows_own_traceback_counts_where_it_reported_nothing() -> None:
    log = printed(
        "",
        """
        Traceback (most recent call last):
          File "<frozen runpy>", line 198, in _run_module_as_main
        ModuleNotFoundError: No module named 'corp'
        """,
    )
    assert pairs(root_first(log, [])) == [("driver", "ModuleNotFoundError", "No module named 'corp'")]


def test_an_error_that_ray_carried_over_is_the_one_of_the_task() -> None:
    log = printed(
        ENGINE,
        """
        Traceback (most recent call last):
          File "/env/vllm/v1/executor/ray_executor.py", line 300, in _init_workers_ray
            ray.get(all_outputs)
        ray.exceptions.RayTaskError(ValueError): \x1b[36mray::RayWorkerWrapper.execute_method()\x1b[39m (pid=12)
          File "/env/vllm/worker/worker_base.py", line 600, in execute_method
            raise ValueError("no such device")
        ValueError: no such device
        """,
    )
    root = root_first(log, [REPORTED])[0]
    assert (root.type, root.message) == ("ValueError", "no such device")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("KeyboardInterrupt", ("KeyboardInterrupt", "")),
        ("SystemExit: 1", ("SystemExit", "1")),
        ("KeyError: 'GPU'", ("KeyError", "'GPU'")),
        ("ValueError:", ("ValueError", "")),
        ("ValueError: Error: nested: twice", ("ValueError", "Error: nested: twice")),
        ("ray.exceptions.RayTaskError(OSError): ray::f()", ("ray.exceptions.RayTaskError(OSError)", "ray::f()")),
        ("corp._errors.PlacementFailure: no node", ("corp._errors.PlacementFailure", "no node")),
        ("UserWarning: old", ("UserWarning", "old")),
        ("zmq.error.Again: Resource temporarily unavailable", ("zmq.error.Again", "Resource temporarily unavailable")),
        ("StopIteration", ("StopIteration", "")),
    ],
)
def test_how_a_traceback_ends(line: str, expected: tuple[str, str]) -> None:
    log = printed(ENGINE, f'Traceback (most recent call last):\n  File "/env/x.py", line 1, in f\n    f()\n{line}')
    assert [(record.type, record.message) for record in find_tracebacks(log)] == [expected]


def test_a_line_of_source_that_reads_like_an_error_does_not_end_it() -> None:
    log = printed(
        ENGINE,
        """
        Traceback (most recent call last):
          File "/env/x.py", line 1, in f
            ValueError: int = 3
        KeyError: 'x'
        """,
    )
    assert pairs(find_tracebacks(log)) == [("EngineCore pid=71", "KeyError", "'x'")]


@pytest.mark.parametrize(
    "log",
    [
        "",
        "ValueError: Ray version 2.43.0 is required\n",
        ENGINE + "ValueError: Ray version 2.43.0 is required\n",
        "Traceback (most recent call last):\n",
        printed(ENGINE, 'Traceback (most recent call last):\n  File "/env/x.py", line 1, in f'),
        ENGINE + "Traceback (most recent call last):\n" + WORKER_2 + "ValueError: of another process\n",
    ],
    ids=["empty", "no traceback", "only prefixed", "cut off", "cut off in a process", "another process"],
)
def test_there_is_no_exception_without_a_whole_traceback(log: str) -> None:
    assert find_tracebacks(log) == []


def test_a_traceback_without_an_end_does_not_swallow_the_log() -> None:
    lines = [f"  line {number}" for number in range(MOST_LINES + 2)]
    log = printed(ENGINE, "\n".join(["Traceback (most recent call last):", *lines, "ValueError: much later"]))
    assert find_tracebacks(log) == []


def test_a_new_traceback_replaces_one_that_was_cut_off() -> None:
    log = printed(ENGINE, "Traceback (most recent call last):\n  File cut off") + printed(ENGINE, GUARD)
    (record,) = find_tracebacks(log)
    assert "cut off" not in record.traceback


def test_a_line_that_a_progress_bar_has_begun() -> None:
    log = "Adding requests:  50%|████\r" + printed(ENGINE, GUARD)
    assert pairs(find_tracebacks(log)) == [GUARD_FOUND]
