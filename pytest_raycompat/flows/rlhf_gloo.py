"""A gloo backend for vLLM's weight-transfer interface, registered in vLLM's own factories.

vLLM's backends (``nccl``, ``ipc`` and more) need GPUs, and the interface is open to further ones
(``WeightTransferEngineFactory.register_engine``, vllm/distributed/weight_transfer/factory.py, 0.32.0). Importing this
module registers ``gloo``: a worker imports it as the home of its extension, a trainer before it connects.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from vllm.distributed.weight_transfer import (
    TrainerWeightTransferEngine,
    WeightTransferEngine,
    WeightTransferEngineFactory,
    WeightTransferTrainerFactory,
)
from vllm.distributed.weight_transfer.base import TrainerInitInfo, WeightTransferInitInfo, WeightTransferUpdateInfo

from pytest_raycompat.flows.rlhf_worker import Described, TakesWeights, broadcast, open_group, received

BACKEND = "gloo"


class GlooWorker(TakesWeights):
    """The worker extension; its module is this one, so that the worker registers the backend."""


@dataclass
class GlooInitInfo(WeightTransferInitInfo):  # type: ignore[misc]  # vLLM's class is untyped here
    """Where the ranks of the engine meet the trainer."""

    host: str
    port: int
    size: int


@dataclass
class GlooUpdateInfo(WeightTransferUpdateInfo):  # type: ignore[misc]
    """What is sent, in order."""

    described: list[Described]


class GlooEngine(WeightTransferEngine):  # type: ignore[misc]
    """The side of the worker."""

    init_info_cls = GlooInitInfo
    update_info_cls = GlooUpdateInfo
    _group: Any = None

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:
        """Join the trainer's group."""
        rank = 1 + int(self.parallel_config.rank)
        self._group = open_group(init_info.host, init_info.port, rank, init_info.size, self.device)

    def start_weight_update(self) -> None:
        """Make the model ready to load weights in the format of the checkpoint."""
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Receive weights; unlike vLLM's own, wait for no device: torch has none to wait for on a CPU."""
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: GlooUpdateInfo) -> None:
        """Load what the trainer sends."""
        self.model.load_weights(received(self._group, update_info.described, self.device))

    def finish_weight_update(self) -> None:
        """Process the loaded weights into the format of the kernels."""
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Leave the group."""
        self._group = None


def metadata_of(source: Any) -> Any:
    """Return what a source of weights has: a method's result up to vLLM 0.32, a cached property since 0.33."""
    return source.metadata() if callable(source.metadata) else source.metadata


def weights_of(source: Any) -> Any:
    """Iterate over a source's weights: over itself up to vLLM 0.32, by a method since 0.33."""
    return source.iter_full() if hasattr(source, "iter_full") else iter(source)


@dataclass
class GlooTrainerInitInfo(TrainerInitInfo):  # type: ignore[misc]
    """Where the trainer meets the ranks of the engine."""

    backend: ClassVar[str] = BACKEND

    host: str
    port: int
    size: int


class GlooTrainer(TrainerWeightTransferEngine):  # type: ignore[misc]
    """The side of the trainer."""

    init_info_cls = GlooTrainerInitInfo
    _group: Any = None

    @classmethod
    def trainer_init(cls, init_info: GlooTrainerInitInfo, *, client: Any, source: Any = None) -> GlooTrainer:
        """Meet the engine's ranks, which wait in ``init_weight_transfer_engine`` for the trainer."""
        engine = cls(client=client, source=source, is_sender=init_info.is_sender)
        info = GlooInitInfo(init_info.host, init_info.port, init_info.size)
        with ThreadPoolExecutor(max_workers=1) as pool:
            meeting = pool.submit(client.init_weight_transfer_engine, asdict(info))
            engine._group = open_group(info.host, info.port, 0, info.size, torch.device("cpu"))
            meeting.result()
        return engine

    def send_weights(self) -> None:
        """Send the source's weights, and have the engine load them."""
        described = [(one.name, str(one.dtype).rpartition(".")[2], list(one.shape)) for one in metadata_of(self.source)]
        self.client.start_weight_update()
        with ThreadPoolExecutor(max_workers=1) as pool:
            update = pool.submit(self.client.update_weights, asdict(GlooUpdateInfo(described)))
            for _, weight in weights_of(self.source):
                broadcast(self._group, weight.detach().contiguous())
            update.result()
        self.client.finish_weight_update()

    def shutdown(self) -> None:
        """Leave the group."""
        self._group = None


WeightTransferEngineFactory.register_engine(BACKEND, GlooEngine)
WeightTransferTrainerFactory.register_engine(BACKEND, GlooTrainer)
