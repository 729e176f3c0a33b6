"""The serve flow: vLLM's OpenAI-compatible server on Ray, and the official client against it.

By hand, with ``RAY_ADDRESS`` set::

    python -m pytest_raycompat.flows.serve --model PATH --executor ray-v2 --tensor-parallel-size 2
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.generate import PROMPTS
from pytest_raycompat.flows.reporting import Reporter, run_program

ENTRY_POINTS = {
    "vllm-serve": ("-m", "vllm.entrypoints.cli.main", "serve"),
    "api-server": ("-m", "vllm.entrypoints.openai.api_server", "--model"),
}
MODEL_NAME = "tiny"
CHAT = (
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Tell me a joke."},
)
"""The chat of vLLM's quickstart, online example (docs/getting_started/quickstart.md)."""
START_LIMIT_S = 480.0
STOP_LIMIT_S = 60.0
REQUEST_LIMIT_S = 120.0
AT_ONCE = 16


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = engine.engine_arguments(arguments)
    command = [sys.executable, *ENTRY_POINTS[arguments.entry_point], arguments.model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL_NAME, "--enforce-eager"]
    for name in ("dtype", "max_model_len", "tensor_parallel_size", "pipeline_parallel_size", "seed"):
        command += [f"--{name.replace('_', '-')}", str(settings[name])]
    command += ["--distributed-executor-backend", settings["distributed_executor_backend"]]
    if arguments.data_parallel_size > 1:
        for name, value in engine.data_parallel_arguments(arguments).items():
            command += [f"--{name.replace('_', '-')}", str(value)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL), f"http://127.0.0.1:{port}"


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


def ask(reporter: Reporter, address: str, max_tokens: int) -> None:
    """Ask everything that a client may ask, and report the answers."""
    from openai import OpenAI

    client = OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=REQUEST_LIMIT_S)
    settings: dict[str, Any] = {"model": MODEL_NAME, "temperature": 0.0, "max_tokens": max_tokens}
    settings["extra_body"] = {"ignore_eos": True}
    reporter.output("models", [model.id for model in client.models.list()])

    def complete(prompt: str) -> dict[str, Any]:
        choice = client.completions.create(prompt=prompt, logprobs=3, **settings).choices[0]
        return {"text": choice.text, "logprobs": choice.logprobs.token_logprobs if choice.logprobs else None}

    reporter.output("prompts", list(PROMPTS))
    reporter.output("completions", [complete(prompt) for prompt in PROMPTS])
    pieces = client.completions.create(prompt=PROMPTS[0], stream=True, **settings)
    reporter.output("streamed", [piece.choices[0].text for piece in pieces if piece.choices])

    chat: list[Any] = list(CHAT)
    reporter.output("chat", client.chat.completions.create(messages=chat, **settings).choices[0].message.content)
    deltas = client.chat.completions.create(messages=chat, stream=True, **settings)
    reporter.output("streamed_chat", [delta.choices[0].delta.content or "" for delta in deltas if delta.choices])

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        prompts = [PROMPTS[number % len(PROMPTS)] for number in range(AT_ONCE)]
        reporter.output("at_once", [answer["text"] for answer in pool.map(complete, prompts)])


def ask_wrongly(reporter: Reporter, address: str) -> None:
    """Ask what a server must refuse, and report with which status it did, and that it lives on."""
    import openai

    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=REQUEST_LIMIT_S)

    def status_of(request: Callable[[], Any]) -> int:
        try:
            request()
        except openai.APIStatusError as error:
            return int(error.status_code)
        return 200

    create = client.completions.create
    reporter.output(
        "refused",
        {
            "unknown model": status_of(lambda: create(model="nobody", prompt="a")),
            "too long": status_of(lambda: create(model=MODEL_NAME, prompt="a" * 5000)),
            "bad parameter": status_of(lambda: create(model=MODEL_NAME, prompt="a", temperature=-1.0)),
            "malformed JSON": post(f"{address}/v1/completions", b'{"model": '),
        },
    )
    reporter.output("healthy_afterwards", is_healthy(address))


def post(url: str, body: bytes) -> int:
    """Send ``body`` as JSON, whatever it is, and return the status of the answer."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_LIMIT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


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
        ask_wrongly(reporter, address)
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
