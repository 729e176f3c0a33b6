"""The serve flow: vLLM's OpenAI-compatible server on Ray, and the official client against it.

By hand, with ``RAY_ADDRESS`` set::

    python -m pytest_raycompat.flows.serve --model PATH --executor ray-v2 --tensor-parallel-size 2
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.openai_client import MODEL_NAME, ask, ask_wrongly
from pytest_raycompat.flows.reporting import Reporter, run_program
from pytest_raycompat.processes.ports import free_port

ENTRY_POINTS = {
    "vllm-serve": ("-m", "vllm.entrypoints.cli.main", "serve"),
    "api-server": ("-m", "vllm.entrypoints.openai.api_server", "--model"),
}
START_LIMIT_S = 480.0
STOP_LIMIT_S = 60.0


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m pytest_raycompat.flows.serve")
    engine.add_arguments(parser)
    parser.add_argument("--entry-point", choices=tuple(ENTRY_POINTS), default="api-server")
    parser.add_argument("--data-parallel-size", type=int, default=1, help="engines behind the server")
    parser.add_argument("--max-tokens", type=int, default=16, help="tokens to generate for each prompt")
    return parser.parse_args(arguments)


def start_server(arguments: argparse.Namespace) -> tuple[subprocess.Popen[bytes], str]:
    """Start the server on a free port; return it with its address."""
    port = free_port()
    settings = engine.engine_arguments(arguments)
    command = [sys.executable, *ENTRY_POINTS[arguments.entry_point], arguments.model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL_NAME, "--enforce-eager"]
    passed_on = ("dtype", "max_model_len", "tensor_parallel_size", "pipeline_parallel_size", "seed")
    options = {name: settings[name] for name in (*passed_on, "distributed_executor_backend")}
    options |= engine.memory_arguments()
    if arguments.data_parallel_size > 1:
        options |= engine.data_parallel_arguments(arguments)
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    command += ["--disable-custom-all-reduce"] if arguments.disable_custom_all_reduce else []
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    threading.Thread(target=pass_on, args=(server,), daemon=True).start()
    return server, f"http://127.0.0.1:{port}"


def pass_on(server: subprocess.Popen[bytes]) -> None:
    """Print what the server prints, with its name before each line, as vLLM does for its other processes."""
    assert server.stdout is not None
    for line in server.stdout:
        sys.stderr.write(f"(server pid={server.pid}) {line.decode(errors='replace')}")
        sys.stderr.flush()


def is_healthy(address: str) -> bool:
    """Whether the server answers that it is well."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def await_server(server: subprocess.Popen[bytes], address: str) -> None:
    """Wait until the server is healthy.

    Raises:
        RuntimeError: it ended instead; its log has the cause.
        TimeoutError: it was neither after ``START_LIMIT_S``.
    """
    began = time.monotonic()
    while not is_healthy(address):
        status = server.poll()
        if status is not None:
            raise RuntimeError(f"the server ended with status {status} before it was healthy")
        if time.monotonic() - began > START_LIMIT_S:
            raise TimeoutError(f"the server is not healthy after {START_LIMIT_S:.0f} s")
        time.sleep(0.2)


def serve(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Start the server, ask, show on what it runs, and stop it."""
    engine.prepare_process(arguments)
    reporter.phase("start")
    server, address = start_server(arguments)
    try:
        await_server(server, address)
        reporter.phase("request")
        ask(reporter, address, arguments.max_tokens)
        reporter.phase("refuse")
        ask_wrongly(reporter, address, lambda: is_healthy(address))
        reporter.phase("inspect")
        reporter.hold()
        reporter.phase("stop")
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        status = server.wait(STOP_LIMIT_S)
        reporter.evidence("stopped", {"status": status, "seconds": round(time.monotonic() - began, 3)})
    finally:
        if server.poll() is None:
            server.kill()


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    parameters = {
        **engine.parameters(arguments),
        "data_parallel_size": arguments.data_parallel_size,
        "entry_point": arguments.entry_point,
    }
    return run_program("serve", parameters, lambda reporter: serve(reporter, arguments), hold=arguments.hold)


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    sys.exit(main())
