from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.performance import (
    PROMPT_TOKENS,
    Load,
    Stopwatch,
    measure_idle,
    measure_rates,
    parse_arguments,
    prompts,
    settings_of,
)
from pytest_raycompat.models.tiny import ONE_BILLION

GIVEN = ["--model", "/models/tiny"]


class Engine:
    """Answers with as many tokens as are asked for, or fewer."""

    def __init__(self, short: int = 0) -> None:
        self.asked: list[tuple[int, int]] = []
        self.seen: list[str] = []
        self._short = short

    def generate(self, asked: list[str], sampling: dict[str, Any], *, use_tqdm: bool) -> list[Any]:
        self.asked.append((len(asked), sampling["max_tokens"]))
        self.seen += asked
        completion = SimpleNamespace(token_ids=[1] * (sampling["max_tokens"] - self._short))
        return [SimpleNamespace(outputs=[completion]) for _ in asked]


class Told:
    """Keeps what a flow reports."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.measured: dict[str, tuple[str, list[float], str]] = {}
        self.outputs: dict[str, Any] = {}

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def output(self, name: str, value: Any) -> None:
        self.outputs[name] = value

    def measurement(self, name: str, unit: str, samples: list[float], *, better: str) -> None:
        self.measured[name] = (unit, samples, better)


def test_what_is_measured() -> None:
    told, asked = Told(), Engine()
    measure_rates(told, Stopwatch(asked, dict), Load(tokens=16, batch=4, repeats=3))  # type: ignore[arg-type]
    assert told.phases == ["warm", "single", "batch"]
    assert {name: (unit, better) for name, (unit, _, better) in told.measured.items()} == {
        "first_token": ("ms", "lower"),
        "single": ("tokens/s", "higher"),
        "step": ("ms", "lower"),
        "batched": ("tokens/s", "higher"),
    }
    assert all(len(samples) == 3 and min(samples) >= 0 for _, samples, _ in told.measured.values())
    assert asked.asked == [(4, 16), (1, 16), *[(1, 1), (1, 16)] * 3, *[(4, 16)] * 3]


def test_no_prompt_comes_twice() -> None:
    asked = Engine()
    measure_rates(Told(), Stopwatch(asked, dict), Load(tokens=2, batch=4, repeats=2))  # type: ignore[arg-type]
    assert len({prompt[:6] for prompt in asked.seen}) == len(asked.seen)
    assert {len(prompt) for prompt in asked.seen} == {PROMPT_TOKENS}
    assert all(ord(letter) < 128 for letter in next(prompts()))


def test_fewer_tokens_than_asked_for_are_no_measurement() -> None:
    with pytest.raises(RuntimeError) as caught:
        Stopwatch(Engine(short=1), dict).generate(2, 8)
    assert str(caught.value) == "2 prompts gave 14 tokens together, not 8 each"


def test_what_is_burnt_while_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_raycompat.flows.performance.IDLE_WINDOW_S", 0.02)
    monkeypatch.setattr("pytest_raycompat.flows.performance.SETTLE_S", 0.0)
    told = Told()
    measure_idle(told, [{"pid": 1}])  # type: ignore[arg-type]
    unit, samples, better = told.measured["idle_cpu"]
    assert (unit, better, len(samples)) == ("CPU s per s", "lower", 5)
    assert len(told.outputs["idle_cpu_by_process"]) == 5


def test_what_depends_on_the_device() -> None:
    gpu, cpu = parse_arguments([*GIVEN, "--device", "cuda"]), parse_arguments(GIVEN)
    assert (gpu.size, gpu.dtype, gpu.tokens, gpu.batch, gpu.repeats) == ("1b", "bfloat16", 128, 64, 7)
    assert (cpu.size, cpu.dtype, cpu.tokens, cpu.batch, cpu.repeats) == ("tiny", "float32", 16, 4, 3)
    given = parse_arguments([*GIVEN, "--device", "cuda", "--size", "tiny", "--batch", "3", "--dtype", "float16"])
    assert (given.size, given.dtype, given.batch) == ("tiny", "float16", 3)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (["--tokens", "1"], "--tokens 1: write a whole number from 2"),
        (["--batch", "0"], "--batch 0: write a whole number from 1"),
        (["--tokens", "500"], "--tokens 500: with a prompt of 64 that is over --max-model-len"),
    ],
)
def test_loads_that_cannot_be(wrong: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments([*GIVEN, *wrong])
    assert caught.value.code == 2
    assert why in capsys.readouterr().err


def test_the_model_of_one_billion(tmp_path: Path) -> None:
    settings = settings_of(parse_arguments([*GIVEN, "--device", "cuda", "--graphs"]), tmp_path)
    assert settings["load_format"] == "dummy"
    assert settings["enforce_eager"] is False
    folder = Path(settings["model"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"]) == (16, 2048)
    assert 0.9e9 < ONE_BILLION.parameters < 1.1e9


def test_the_model_that_is_given(tmp_path: Path) -> None:
    settings = settings_of(parse_arguments([*GIVEN, "--gpu-memory-utilization", "0.3"]), tmp_path)
    assert (settings["model"], settings["enforce_eager"]) == ("/models/tiny", True)
    assert settings["gpu_memory_utilization"] == 0.3
    assert "load_format" not in settings
    assert list(tmp_path.iterdir()) == []


def test_graphs_are_a_parameter() -> None:
    assert "graphs" not in engine.parameters(parse_arguments(GIVEN))
    assert engine.parameters(parse_arguments([*GIVEN, "--graphs"]))["graphs"] is True


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed, so nothing is lacking: tox run -e py")
def test_the_program_says_what_it_lacks() -> None:
    command = [sys.executable, "-m", "pytest_raycompat.flows.performance", *GIVEN, "--executor", "mp"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert finished.returncode == 1
    assert [event["event"] for event in events] == ["start", "phase", "exception"]
    assert events[-1]["chain"][0]["type"] == "ModuleNotFoundError"
