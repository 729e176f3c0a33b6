"""The trainer of the RLHF flow: a real torch module and real gradient steps, in an actor of its own."""

from __future__ import annotations

import base64
import os
import pickle
import tempfile
from typing import Any

from pytest_raycompat.flows.rlhf_worker import Described, broadcast, open_group
from pytest_raycompat.processes.ports import free_port

SEQUENCES, LENGTH = 4, 32
"""What a round trains on: sequences of so many tokens, drawn from the round's seed."""
PRINTABLE = range(0x20, 0x7F)
"""Tokens that the tiny model may answer with."""
LEARNING_RATE = 5e-3


def whereabouts() -> dict[str, Any]:
    """Tell where this process runs: its pid and, in a Ray actor, its actor, node and GPUs."""
    found: dict[str, Any] = {"pid": os.getpid(), "actor_id": None}
    import ray

    if not ray.is_initialized():
        return found
    context = ray.get_runtime_context()
    found |= {"actor_id": context.get_actor_id(), "node_id": context.get_node_id()}
    return {**found, "gpu_ids": [str(gpu) for gpu in context.get_accelerator_ids().get("GPU", [])]}


class Trainer:
    """One rank of a trainer.

    Args:
        model: folder of the model to begin with.
        device: ``cpu``, ``cuda`` or ``cuda:NUMBER``.
    """

    def __init__(self, model: str, device: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.manual_seed(0)
        self._device = torch.device("cuda:0" if device == "cuda" else device)
        self._model = AutoModelForCausalLM.from_pretrained(model).to(self._device)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE)
        self._rank, self._size = 0, 1
        self._group: Any = None
        self._transfer: Any = None
        self._sharing: Any = None

    def ready(self) -> None:
        """Answer once it is up."""

    def whereabouts(self) -> dict[str, Any]:
        """Tell where it runs."""
        return whereabouts()

    def rendezvous(self) -> tuple[str, int]:
        """Return an address and a free port at which others can meet this rank."""
        import ray

        host = ray.util.get_node_ip_address() if ray.is_initialized() else "127.0.0.1"
        return host, free_port()

    def join(self, host: str, port: int, rank: int, size: int) -> None:
        """Become one of several ranks that train the same weights."""
        import torch.distributed

        backend = "gloo" if self._device.type == "cpu" else "nccl"
        torch.distributed.init_process_group(backend, init_method=f"tcp://{host}:{port}", rank=rank, world_size=size)
        self._rank, self._size = rank, size

    def train(self, number: int, steps: int) -> list[float]:
        """Take so many steps on the sequences of round ``number``; return the loss of each."""
        import torch

        generator = torch.Generator().manual_seed(number)
        tokens = torch.randint(PRINTABLE.start, PRINTABLE.stop, (SEQUENCES, LENGTH), generator=generator)
        mine = tokens[self._rank :: self._size].to(self._device)
        losses = []
        for _ in range(steps):
            self._optimizer.zero_grad()
            loss = self._model(input_ids=mine, labels=mine).loss
            loss.backward()
            self._average_gradients()
            self._optimizer.step()
            losses.append(float(loss))
        return losses

    def _average_gradients(self) -> None:
        if self._size == 1:
            return
        import torch.distributed

        for parameter in self._model.parameters():
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= self._size

    def checkpoint(self) -> bytes:
        """Return the weights as the content of a safetensors file, in the names of the model that it began with."""
        from safetensors.torch import save

        return bytes(save({name: weight.detach().cpu() for name, weight in self._weights()}, {"format": "pt"}))

    def _weights(self) -> list[tuple[str, Any]]:
        return [(name, weight.detach().contiguous()) for name, weight in self._model.named_parameters()]

    def describe(self) -> list[Described]:
        """Describe the weights in the order in which they are sent."""
        return [(name, str(one.dtype).rpartition(".")[2], list(one.shape)) for name, one in self._weights()]

    def open_group(self, host: str, port: int, size: int) -> None:
        """Join the group with the ranks of an engine, as rank 0."""
        self._select()
        self._group = open_group(host, port, 0, size, self._device)

    def broadcast(self) -> None:
        """Send the weights through the group."""
        self._select()
        for _, weight in self._weights():
            broadcast(self._group, weight)
        self._synchronize()

    def connect(self, client: Any, host: str, port: int, size: int) -> None:
        """Connect to an engine through vLLM's weight-transfer interface: ``nccl``, or on a CPU the flow's ``gloo``."""
        self._select()
        from vllm.distributed.weight_transfer import ModuleSource, WeightTransferTrainerFactory

        info: Any
        if self._device.type == "cpu":
            from pytest_raycompat.flows.rlhf_gloo import GlooTrainerInitInfo

            info = GlooTrainerInitInfo(host, port, size, rank=0)
        else:
            from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

            info = NCCLTrainerInitInfo(master_address=host, master_port=port, world_size=size, rank=0)
        source = ModuleSource(self._model)
        self._transfer = WeightTransferTrainerFactory.trainer_init(info, client=client, source=source)

    def transfer(self) -> None:
        """Send the weights through the interface."""
        self._select()
        self._transfer.send_weights()

    def share(self) -> str:
        """Put the weights into memory that a process on the same device can map; return a handle to it.

        On GPUs that is CUDA IPC; on a CPU a file in shared memory. :meth:`unshare` ends it.
        """
        import torch

        flat = torch.cat([weight.flatten() for _, weight in self._weights()])
        if self._device.type == "cpu":
            file = tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="raycompat-rlhf-")  # closed by unshare
            file.truncate(flat.numel() * flat.element_size())
            torch.from_file(file.name, shared=True, size=flat.numel(), dtype=flat.dtype).copy_(flat)
            self._sharing = file
            return file.name
        from torch.multiprocessing.reductions import reduce_tensor

        self._synchronize()
        self._sharing = flat  # a handle does not keep the memory
        return base64.b64encode(pickle.dumps(reduce_tensor(flat)[1])).decode()

    def unshare(self) -> None:
        """Let go of the shared memory."""
        if self._device.type == "cpu":
            self._sharing.close()
        self._sharing = None

    def _select(self) -> None:
        """Make its GPU the current one, which NCCL uses; torch keeps that for each thread."""
        if self._device.index is not None:
            import torch

            torch.cuda.set_device(self._device)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize()
