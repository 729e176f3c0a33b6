"""The engine of the RLHF flow: ``vllm.LLM`` in an actor, as in vLLM's RLHF examples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_raycompat.flows.engine import evidence_of
from pytest_raycompat.flows.generate import describe_completion
from pytest_raycompat.gpus import OURS_VARIABLE


def show_gpus() -> None:
    """Let vLLM see the GPUs of this node, or of this flow, and no others.

    Ray hides all GPUs from an actor that holds none, and vLLM looks for them there. vLLM's own examples take the mask
    away, which on a machine of several users shows GPUs that are not ours; a cluster of ours says which are.
    """
    mask = os.environ.get(OURS_VARIABLE)
    if mask is None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = mask


class RolloutEngine:
    """An engine whose weights change while it is up.

    Args:
        settings: keyword arguments of ``vllm.LLM``.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        show_gpus()
        from vllm import LLM

        self._llm = LLM(**settings)

    def ready(self) -> None:
        """Answer once it is up."""

    def answer(self, prompts: Sequence[str], max_tokens: int) -> list[dict[str, Any]]:
        """Generate greedily, with log-probabilities, nothing of it from a cache of older weights."""
        from vllm import SamplingParams

        self._llm.reset_prefix_cache()
        sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, logprobs=3, ignore_eos=True)
        outputs = self._llm.generate(list(prompts), sampling, use_tqdm=False)
        return [describe_completion(output) for output in outputs]

    def sleep(self) -> dict[str, list[float]]:
        """Leave the GPUs to the trainer: weights go to the CPU's memory, the cache is let go.

        Returns:
            ``awake_gb`` and ``asleep_gb``: what was in use of each rank's GPU before and after, in GiB.
        """
        awake = self.collective_rpc("raycompat_used_gb")
        self._llm.sleep(level=1)
        return {"awake_gb": awake, "asleep_gb": self.collective_rpc("raycompat_used_gb")}

    def wake_up(self) -> None:
        """Take the memory again, the weights with it."""
        self._llm.wake_up()

    def evidence(self) -> dict[str, Any]:
        """Tell where it runs."""
        return evidence_of(self._llm)

    def collective_rpc(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of the worker extension on every rank."""
        return list(self._llm.collective_rpc(method, args=arguments))

    def init_weight_transfer_engine(self, request: Any) -> None:
        """Have the ranks meet a trainer; with the next three, what a ``VLLMWeightSyncClient`` calls."""
        self._llm.init_weight_transfer_engine(request)

    def start_weight_update(self) -> None:
        """Begin an update."""
        self._llm.start_weight_update()

    def update_weights(self, request: Any) -> None:
        """Have the ranks take what the trainer sends."""
        self._llm.update_weights(request)

    def finish_weight_update(self) -> None:
        """End an update."""
        self._llm.finish_weight_update()

    def end(self) -> None:
        """End the engine's processes; an actor that is killed cannot."""
        core = getattr(self._llm.llm_engine, "engine_core", None)
        if core is not None:  # the V0 engine has none (VLLM_USE_V1=0, up to vLLM 0.10): it goes when it is let go
            core.shutdown()


def fresh_answers(settings: Mapping[str, Any], prompts: Sequence[str], max_tokens: int) -> list[dict[str, Any]]:
    """Start an engine in this process, let it answer, and end it, so that the next can follow."""
    from vllm.distributed import cleanup_dist_env_and_memory, destroy_distributed_environment, destroy_model_parallel
    from vllm.platforms import current_platform

    engine = RolloutEngine(settings)
    try:
        return engine.answer(prompts, max_tokens)
    finally:
        engine.end()
        del engine
        if current_platform.is_cpu():  # no memory of a device to get back, for which all objects are gone through
            destroy_model_parallel()
            destroy_distributed_environment()
        else:
            cleanup_dist_env_and_memory()
