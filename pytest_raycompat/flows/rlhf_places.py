"""Where the trainer and the engines of the RLHF flow are: actors on Ray, or for the control objects of this process.

Both are called in the same way, and every wait is bounded.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

CALL_LIMIT_S = 180.0
"""How long a call may take once everybody is up."""
PLACE_LIMIT_S = 60.0
"""How long Ray may take to place a group."""
LOOK_EVERY_S = 0.05


class Pending(Protocol):
    """A call that may still be under way."""

    name: str

    def done(self) -> bool:
        """Whether it is over."""

    def result(self) -> Any:
        """Return what it gave, or raise what it raised."""


class Peer(Protocol):
    """Somebody who can be called."""

    target: Any
    """The actor's handle, or the object."""

    def call(self, method: str, /, *arguments: Any, **named: Any) -> Pending:
        """Begin to call ``method``."""


def together(pending: Sequence[Pending], limit_s: float = CALL_LIMIT_S) -> list[Any]:
    """Wait for calls that need each other, and return what they gave.

    Raises:
        TimeoutError: some are not over after ``limit_s`` seconds; says which.
        Exception: what the first of them raised, at once: the others would wait for it in vain.
    """
    began = time.monotonic()
    waiting = list(pending)
    while waiting:
        for one in [one for one in waiting if one.done()]:
            one.result()
            waiting.remove(one)
        if waiting and time.monotonic() - began > limit_s:
            raise TimeoutError(f"not over after {limit_s:.0f} s: {', '.join(one.name for one in waiting)}")
        if waiting:
            time.sleep(LOOK_EVERY_S)
    return [one.result() for one in pending]


class RayCall:
    """A call of an actor."""

    def __init__(self, name: str, reference: Any) -> None:
        self.name = name
        self._reference = reference

    def done(self) -> bool:
        """Whether it is over."""
        import ray

        return bool(ray.wait([self._reference], timeout=0)[0])

    def result(self) -> Any:
        """Return what it gave, or raise what it raised."""
        import ray

        return ray.get(self._reference)


class RayPeer:
    """An actor."""

    def __init__(self, name: str, handle: Any) -> None:
        self._name = name
        self.target = handle

    def call(self, method: str, /, *arguments: Any, **named: Any) -> Pending:
        """Begin to call ``method``."""
        return RayCall(f"{self._name}.{method}", getattr(self.target, method).remote(*arguments, **named))


class LocalCall:
    """A call in a thread."""

    def __init__(self, name: str, future: concurrent.futures.Future[Any]) -> None:
        self.name = name
        self._future = future

    def done(self) -> bool:
        """Whether it is over."""
        return self._future.done()

    def result(self) -> Any:
        """Return what it gave, or raise what it raised."""
        return self._future.result()


class LocalPeer:
    """An object of this process; like an actor, it does one thing after the other."""

    def __init__(self, name: str, target: Any) -> None:
        self._name = name
        self.target = target
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)

    def call(self, method: str, /, *arguments: Any, **named: Any) -> Pending:
        """Begin to call ``method``."""
        return LocalCall(f"{self._name}.{method}", self._pool.submit(getattr(self.target, method), *arguments, **named))


class RayGroups:
    """The placement groups of the flow, and the actors in them."""

    def __init__(self) -> None:
        self._groups: list[Any] = []
        self._actors: list[Any] = []

    def reserve(self, bundles: list[dict[str, float]]) -> Any:
        """Make a placement group, and wait until it is placed.

        Raises:
            TimeoutError: it is not placed after a minute; says what the cluster has free.
        """
        import ray
        from ray.exceptions import GetTimeoutError

        group = ray.util.placement_group(bundles, strategy="PACK")
        self._groups.append(group)
        try:
            ray.get(group.ready(), timeout=PLACE_LIMIT_S)
        except GetTimeoutError:
            free = {name: count for name, count in ray.available_resources().items() if name in ("CPU", "GPU")}
            raise TimeoutError(f"Ray did not place {bundles} in {PLACE_LIMIT_S:.0f} s; it has free: {free}") from None
        return group

    def start(
        self,
        name: str,
        cls: Callable[..., Any],
        settings: Mapping[str, Any],
        group: Any,
        bundle: int,
        *,
        variables: Mapping[str, str],
        gpus: float = 0,
    ) -> RayPeer:
        """Start an actor in a bundle of a group; engines take the group for their workers too."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=bundle, placement_group_capture_child_tasks=True
        )
        actor = ray.remote(num_cpus=0, num_gpus=gpus)(cls).options(
            scheduling_strategy=strategy, runtime_env={"env_vars": dict(variables)}
        )
        handle = actor.remote(**settings)
        self._actors.append(handle)
        return RayPeer(name, handle)

    def close(self) -> None:
        """Kill the actors and give the groups back."""
        import ray

        for actor in self._actors:
            ray.kill(actor)
        for group in self._groups:
            ray.util.remove_placement_group(group)


class DirectClient:
    """The client of vLLM's weight-transfer interface for an engine of this process.

    For actors vLLM has ``RayVLLMWeightSyncClient``; both have the four methods of ``VLLMWeightSyncClient``
    (vllm/distributed/weight_transfer/base.py, 0.32.0).
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Have the engine's ranks meet the trainer."""
        self._engine.init_weight_transfer_engine({"init_info": init_info})

    def start_weight_update(self) -> None:
        """Begin an update."""
        self._engine.start_weight_update()

    def update_weights(self, update_info: Any) -> None:
        """Have the engine's ranks take what the trainer sends."""
        self._engine.update_weights({"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """End an update."""
        self._engine.finish_weight_update(weight_version)
