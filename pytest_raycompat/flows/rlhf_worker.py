"""The worker extension of the RLHF flow: how every rank of an engine takes weights from a trainer.

Named as ``worker_extension_cls``, as in vLLM's own RLHF examples (examples/rl). Weights come in the names and shapes of
the checkpoint; vLLM shards them over the ranks.
"""

from __future__ import annotations

import base64
import inspect
import pickle
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

from pytest_raycompat.flows.worker_evidence import WorkerEvidence

Described = tuple[str, str, list[int]]
"""Of a weight: its name, its dtype as an attribute of torch, and its shape."""


def open_group(host: str, port: int, rank: int, size: int, device: Any) -> Any:
    """Join the group of a trainer (rank 0) and the ranks of an engine: NCCL on GPUs, gloo on CPUs.

    Neither touches the default process group, which the engine's ranks have for themselves.
    """
    if device.type == "cpu":
        from vllm.distributed.utils import stateless_init_torch_distributed_process_group

        return stateless_init_torch_distributed_process_group(host, port, rank, size, backend="gloo")
    from vllm.distributed.device_communicators.pynccl import PyNcclCommunicator
    from vllm.distributed.utils import StatelessProcessGroup

    group = StatelessProcessGroup.create(host=host, port=port, rank=rank, world_size=size)
    return PyNcclCommunicator(group, device=device)


def broadcast(group: Any, weight: Any) -> None:
    """Send ``weight`` from rank 0 to all others, into the tensor that they pass."""
    if weight.device.type == "cpu":
        group.broadcast(weight, 0).wait()
        return
    import torch

    group.broadcast(weight, src=0, stream=torch.cuda.current_stream())


def received(group: Any, described: Sequence[Described], device: Any) -> Iterator[tuple[str, Any]]:
    """Yield what rank 0 sends, one weight at a time."""
    import torch

    for name, dtype, shape in described:
        weight = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
        broadcast(group, weight)
        yield name, weight


def shared(handle: str, described: Sequence[Described], device: Any) -> Iterator[tuple[str, Any]]:
    """Yield views into the memory that a trainer on the same device shares."""
    import torch

    first = described[0][1]
    if device.type == "cpu":
        count = sum(prod(shape) for _, _, shape in described)
        flat = torch.from_file(handle, shared=True, size=count, dtype=getattr(torch, first))
    else:
        from torch.multiprocessing.reductions import rebuild_cuda_tensor

        arguments = list(pickle.loads(base64.b64decode(handle)))  # from the trainer of this same job
        arguments[6] = device.index  # its number in this process, which may see other devices
        flat = rebuild_cuda_tensor(*arguments)
    begin = 0
    for name, _, shape in described:
        yield name, flat[begin : begin + prod(shape)].view(shape)
        begin += prod(shape)


class TakesWeights(WorkerEvidence):
    """Adds to vLLM's worker what takes weights."""

    device: Any
    model_runner: Any
    vllm_config: Any

    def raycompat_open_group(self, host: str, port: int, size: int) -> None:
        """Join the trainer's group; this engine's ranks follow the trainer's, which is 0."""
        self._raycompat_group = open_group(host, port, 1 + self.rank, size, self.device)

    def raycompat_receive(self, described: Sequence[Described]) -> None:
        """Take over the weights that the trainer sends through the group."""
        self._raycompat_load(received(self._raycompat_group, described, self.device))

    def raycompat_map(self, handle: str, described: Sequence[Described]) -> None:
        """Take over the weights that the trainer shares in memory."""
        self._raycompat_load(shared(handle, described, self.device))
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize()  # the trainer frees the memory after this

    def raycompat_used_gb(self) -> float:
        """Tell how much of this rank's GPU is in use, by whomever, in GiB."""
        import torch

        free, total = torch.cuda.mem_get_info(self.device)
        return float(round((total - free) / 1024**3, 2))

    def _raycompat_load(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Load weights into the running model.

        vLLM's CPU build repacks linear weights once they are loaded, and the model cannot load again by itself;
        ``reload_weights`` undoes that (vllm/v1/worker/gpu_model_runner.py, 0.32.0). Before it took weights, the model's
        own ``load_weights`` was the documented way.
        """
        reload = getattr(self.model_runner, "reload_weights", None)  # the V0 engine has none
        if reload is not None and "weights_iterator" in inspect.signature(reload).parameters:
            from vllm.config import set_current_vllm_config

            with set_current_vllm_config(self.vllm_config):
                reload(weights_iterator=weights)
        else:
            self.model_runner.model.load_weights(weights)
