"""The official OpenAI client against a server that serves the model as ``MODEL_NAME``: what the serving flows share."""

from __future__ import annotations

import concurrent.futures
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

from pytest_raycompat.flows.generate import PROMPTS
from pytest_raycompat.flows.reporting import Reporter

MODEL_NAME = "tiny"
CHAT = (
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Tell me a joke."},
)
"""The chat of vLLM's quickstart, online example (docs/getting_started/quickstart.md)."""
REQUEST_LIMIT_S = 120.0
AT_ONCE = 16


def connect(address: str) -> Any:
    """Make a client that asks once, and waits for at most ``REQUEST_LIMIT_S``."""
    from openai import OpenAI

    return OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=REQUEST_LIMIT_S)


def ask(reporter: Reporter, address: str, max_tokens: int) -> None:
    """Ask everything that a client may ask, and report the answers."""
    client = connect(address)
    settings: dict[str, Any] = {"model": MODEL_NAME, "temperature": 0.0, "max_tokens": max_tokens}
    settings["extra_body"] = {"ignore_eos": True}
    reporter.output("models", [model.id for model in client.models.list()])

    def complete(prompt: str) -> dict[str, Any]:
        choice = client.completions.create(prompt=prompt, logprobs=3, **settings).choices[0]
        return {"text": choice.text, "logprobs": choice.logprobs.token_logprobs if choice.logprobs else None}

    reporter.output("prompts", list(PROMPTS))
    reporter.output("completions", at_once(complete, PROMPTS))
    pieces = client.completions.create(prompt=PROMPTS[0], stream=True, **settings)
    reporter.output("streamed", [piece.choices[0].text for piece in pieces if piece.choices])

    chat: list[Any] = list(CHAT)
    reporter.output("chat", client.chat.completions.create(messages=chat, **settings).choices[0].message.content)
    deltas = client.chat.completions.create(messages=chat, stream=True, **settings)
    reporter.output("streamed_chat", [delta.choices[0].delta.content or "" for delta in deltas if delta.choices])

    many = [PROMPTS[number % len(PROMPTS)] for number in range(AT_ONCE)]
    began = time.monotonic()
    answers = at_once(complete, many)
    reporter.throughput(AT_ONCE * max_tokens, time.monotonic() - began)  # each as long as it may be: ignore_eos
    reporter.output("at_once", [answer["text"] for answer in answers])


def at_once(send: Callable[[str], Any], prompts: Sequence[str]) -> list[Any]:
    """Send each of ``prompts`` in a request of its own, all at the same time, and return what each gave, in order."""
    with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
        return list(pool.map(send, prompts))


def status_of(request: Callable[[], Any]) -> int:
    """Send a request and return the HTTP status of the answer."""
    import openai

    try:
        request()
    except openai.APIStatusError as error:
        return int(error.status_code)
    return 200


def ask_wrongly(reporter: Reporter, address: str, is_healthy: Callable[[], bool]) -> None:
    """Ask what a server must refuse, and report with which status it did, and that it lives on."""

    def create(**request: Any) -> Any:
        # by a connection of its own: vLLM 0.20 closes one after it has answered 400
        return connect(address).completions.create(**request)

    reporter.output(
        "refused",
        {
            "unknown model": status_of(lambda: create(model="nobody", prompt="a")),
            "too long": status_of(lambda: create(model=MODEL_NAME, prompt="a" * 5000)),
            "bad parameter": status_of(lambda: create(model=MODEL_NAME, prompt="a", temperature=-1.0)),
            "malformed JSON": post(f"{address}/v1/completions", b'{"model": '),
        },
    )
    reporter.output("healthy_afterwards", is_healthy())


def post(url: str, body: bytes) -> int:
    """Send ``body`` as JSON, whatever it is, and return the status of the answer."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_LIMIT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
