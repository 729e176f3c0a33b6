"""How weights get from the trainer to the engines: one class for each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pytest_raycompat.flows.rlhf_places import DirectClient, RayPeer, together
from pytest_raycompat.flows.rlhf_setup import Setup


class Way(Protocol):
    """A way for weights to take."""

    def __init__(self, setup: Setup) -> None: ...

    def connect(self) -> None:
        """Bring trainers and engines together, once."""

    def send(self) -> None:
        """Bring the trainer's weights into the engines."""


class Rpc:
    """vLLM's documented example: ``collective_rpc`` with a worker extension, and a group of trainer and ranks."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._trainer, self._engine = setup.trainers[0], setup.engines[0]

    def connect(self) -> None:
        """Open the group: the trainer is rank 0, the engine's ranks follow."""
        [(host, port)] = together([self._trainer.call("rendezvous")])
        meeting = (host, port, 1 + self._setup.ranks)
        opened = self._engine.call("collective_rpc", "raycompat_open_group", *meeting)
        together([self._trainer.call("open_group", *meeting), opened])

    def send(self) -> None:
        """Broadcast the weights; the ranks load each as it comes."""
        [described] = together([self._trainer.call("describe")])
        received = self._engine.call("collective_rpc", "raycompat_receive", described)
        together([self._trainer.call("broadcast"), received])


class WeightTransfer:
    """vLLM's own interface, ``vllm.distributed.weight_transfer``: the trainer drives the engine through a client."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._trainer, self._engine = setup.trainers[0], setup.engines[0]

    def _client(self) -> Any:
        if not isinstance(self._engine, RayPeer):
            return DirectClient(self._engine.target)
        from vllm.distributed.weight_transfer import RayVLLMWeightSyncClient

        return RayVLLMWeightSyncClient(self._engine.target)

    def connect(self) -> None:
        """Have the trainer meet the engine's ranks."""
        [(host, port)] = together([self._trainer.call("rendezvous")])
        together([self._trainer.call("connect", self._client(), host, port, 1 + self._setup.ranks)])

    def send(self) -> None:
        """Have the trainer drive an update."""
        together([self._trainer.call("transfer")])


class NotColocated(Exception):
    """Ray gave a trainer another GPU than the engine in the same bundle of a placement group."""


def check_places(workers: Sequence[Mapping[str, Any]], trainers: Sequence[Mapping[str, Any]]) -> None:
    """See to it that each trainer has the GPU of the engine beside it, and no engine that of another.

    Args:
        workers: where the rank of each engine is.
        trainers: where each trainer is, in the same order.

    Raises:
        NotColocated: it is otherwise; lists who has which GPU.
    """
    ours, theirs = ([(one["node_id"], *one["gpu_ids"]) for one in some] for some in (workers, trainers))
    if ours != theirs or len(set(ours)) < len(ours):
        pairs = zip(workers, trainers, strict=True)
        has = [f"bundle {index}: engine {a['gpu_ids']}, trainer {b['gpu_ids']}" for index, (a, b) in enumerate(pairs)]
        raise NotColocated(f"engines and trainers in one bundle do not share its GPU; {'; '.join(has)}")


class Colocate:
    """Trainers and engines share GPUs, and the weights stay where they are: the engine maps the trainer's memory.

    With several engines each trainer feeds the one on its own GPU, as CUDA IPC does not leave a GPU.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def connect(self) -> None:
        """Check who shares a GPU, and make several trainers one: they average their gradients from here on."""
        trainers = self._setup.trainers
        if isinstance(trainers[0], RayPeer):
            workers = [one["workers"][0] for one in self._setup.on_engines("evidence")]
            check_places(workers, self._setup.on_trainers("whereabouts"))
        if len(trainers) > 1:
            [meeting] = together([trainers[0].call("rendezvous")])
            together([one.call("join", *meeting, rank, len(trainers)) for rank, one in enumerate(trainers)])

    def send(self) -> None:
        """Share the trainer's memory, have the engines load from it, and end that."""
        [described, *_] = self._setup.on_trainers("describe")
        handles = self._setup.on_trainers("share")
        near = handles if len(handles) == len(self._setup.engines) else handles * len(self._setup.engines)
        together(
            [
                one.call("collective_rpc", "raycompat_map", handle, described)
                for one, handle in zip(self._setup.engines, near, strict=True)
            ]
        )
        self._setup.on_trainers("unshare")


WAYS: dict[str, type[Way]] = {"rpc": Rpc, "weight-transfer": WeightTransfer, "colocate": Colocate}
