"""A cluster of our own: every Ray process is our child, and nothing of it stays."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pytest_raycompat.cluster import start_command
from pytest_raycompat.cluster.authentication import variables_for
from pytest_raycompat.cluster.network import Loopback, Namespaces, Network
from pytest_raycompat.cluster.observation import ObservedNode, Observer, ObserverError
from pytest_raycompat.cluster.protocol import ClusterError, Node, NodeShape
from pytest_raycompat.gpus import Gpu, mask_of
from pytest_raycompat.processes.children import Child, Children, describe_exit
from pytest_raycompat.processes.ports import accepts, free_port

UNPROTECTED = (
    "Ray {ray} has no token authentication and listens on all interfaces: "
    "whoever reaches this machine can run code on the cluster while it is up"
)
END_GRACE_S = 8.0
"""``ray start --block`` ends its processes within about 2 s of SIGTERM (seen with 2.35.0 and 2.60.0)."""


class LocalCluster:
    """Ray nodes on this machine, each with a loopback address of its own.

    Args:
        children: starts and ends the processes.
        python: interpreter of the environment under test.
        ray: its Ray's version.
        ray_client: whether it has Ray's client server, which starts with the head and so needs a port of its own.
        shape: the nodes, the head first.
        late: how many of them, at the end, are left out until :meth:`join`.
        namespaces: whether each node is in a network namespace of its own.
        dashboard: whether the dashboard runs on the head, which the jobs API needs.
        device: what stands behind the declared GPUs.
        environment: base environment of the Ray processes.
        token: file with the token that its processes and clients show, where that Ray has token authentication.
        real_gpus: the GPUs of this machine, handed out to the nodes in order; empty without any.
        log_folder: where its logs go, and those of no other cluster.
        limit_s: how long a start may take, in seconds.

    Raises:
        ClusterError: it did not become ready.
    """

    owned = True

    def __init__(
        self,
        children: Children,
        *,
        python: str,
        ray: str,
        ray_client: bool,
        shape: Sequence[NodeShape],
        late: int = 0,
        namespaces: bool = False,
        dashboard: bool = False,
        device: Literal["cpu", "cuda"],
        environment: Mapping[str, str],
        token: Path,
        real_gpus: Sequence[Gpu] = (),
        log_folder: Path,
        limit_s: float,
    ) -> None:
        self._children = children
        self._python = python
        self._ray = ray
        self._ray_client = ray_client
        self._shape = tuple(shape[: len(shape) - late])
        self._late = tuple(shape[len(shape) - late :])
        self._dashboard = dashboard
        self.device = device
        self.real_gpus = tuple(real_gpus)
        self._unused = self.real_gpus
        self._log_folder = log_folder
        self._began = time.monotonic()
        self._limit_s = limit_s
        self._processes: list[tuple[Child, Path]] = []
        authentication = variables_for(ray, token)
        self.notes: tuple[str, ...] = () if authentication else (UNPROTECTED.format(ray=ray),)

        self._folder = children.new_folder("raycompat-")
        self._network: Network = Namespaces(children, len(shape)) if namespaces else Loopback(len(shape))
        self.driver_command = tuple(self._network.on(0))
        head = self._network.addresses[0]
        self.address = f"{head}:{free_port()}"
        self.environment: dict[str, str] = {
            **environment,
            "RAY_ADDRESS": self.address,
            "VLLM_HOST_IP": head,  # vLLM places its first worker by this address (vllm/v1/executor/ray_utils.py)
            **self._network.variables,
            **authentication,
        }
        if device == "cuda":  # a driver and what it starts see no other GPUs than the nodes
            self.environment |= mask_of(self.real_gpus)
        self.observer = Observer(
            children, python, self.environment, self._folder / "observer.log", on=self.driver_command
        )
        try:
            self.nodes = self._start()
        except BaseException as error:
            try:
                logs: str | None = self.keep_logs("did-not-start")
            except OSError as problem:
                logs = f"none, {problem}"
            finally:
                self.close()
            if isinstance(error, ClusterError | ObserverError):
                raise ClusterError(f"the local Ray {ray} cluster did not start: {error}\nlogs: {logs}") from None
            raise

    @property
    def gpus(self) -> int:
        """How many GPUs its nodes declare together."""
        return sum(node.gpus for node in self.nodes)

    def _start(self) -> tuple[Node, ...]:
        host, port = self.address.split(":")
        head = start_command.head_options(self.address, self._folder / "ray", self._dashboard, self._ray_client)
        self._start_node(0, head)
        if self._network.reachable():
            self._wait_for(lambda: accepts(host, int(port)), "its GCS did not listen")
        if len(self._shape) == 1:
            self.observer.connect(self.address, self._left(), self._check_processes)
        self._start_nodes(1)
        if len(self._shape) > 1:
            self.observer.connect(self.address, self._left(), self._check_processes)
        return self._wait_for_nodes()

    def _start_nodes(self, first: int) -> None:
        # one after the other: nodes that start together pick the same file names and die (Ray 2.35.0, seen)
        for index in range(first, len(self._shape)):
            self._wait_for_start(index - 1)
            self._start_node(index, [f"--address={self.address}"])
        if len(self._shape) > 1:
            self._wait_for_start(len(self._shape) - 1)

    def carried(self) -> dict[str, int]:
        """Return how many bytes the link of each node has carried, by its address; empty without links."""
        return self._network.carried()

    @property
    def late(self) -> int:
        """How many nodes have yet to join."""
        return len(self._late)

    def join(self) -> None:
        """Let the late nodes join, and wait until they are alive.

        Raises:
            ClusterError: they did not join in time.
            ObserverError: Ray did not answer.
        """
        first = len(self._shape)
        self._shape, self._late = (*self._shape, *self._late), ()
        self._began = time.monotonic()
        self._start_nodes(first)
        self.nodes = self._wait_for_nodes()

    def _start_node(self, index: int, arguments: list[str]) -> None:
        shape, address = self._shape[index], self._network.addresses[index]
        log = self._folder / f"node-{index}.log"
        options = [*arguments, *start_command.node_options(shape, address, self._ray)]
        command = [*self._network.on(index), self._python, "-m", start_command.PROGRAM, "start", "--block", *options]
        environment = start_command.node_variables(self.environment, address)
        if self.device == "cuda":
            taken, self._unused = self._unused[: shape.gpus], self._unused[shape.gpus :]
            environment |= mask_of(taken)
        else:  # a user who hides all GPUs has stand-ins all the same, of which Ray finds too few in the mask
            environment.pop("CUDA_VISIBLE_DEVICES", None)
        with log.open("wb") as stream:
            child = self._children.start(command, environment=environment, stdout=stream, stderr=stream)
        self._processes.append((child, log))

    def _wait_for_start(self, index: int) -> None:
        log = self._processes[index][1]
        self._wait_for(lambda: start_command.STARTED in log.read_text(errors="replace"), f"node {index} did not start")

    def _wait_for_nodes(self) -> tuple[Node, ...]:
        seen: list[ObservedNode] = []

        def ready() -> bool:
            seen[:] = [node for node in self.observer.nodes(self._left()) if node.alive]
            found = sorted((node.address, int(node.gpus)) for node in seen)
            return found == sorted(zip(self._network.addresses, (shape.gpus for shape in self._shape), strict=False))

        self._wait_for(ready, "not all nodes became alive", lambda: describe_nodes(seen))
        self._name_head()
        order = {address: index for index, address in enumerate(self._network.addresses)}
        seen.sort(key=lambda node: order[node.address])
        return tuple(Node(node.node_id, node.address, int(node.gpus)) for node in seen)

    def _name_head(self) -> None:
        """Let drivers find the head: each node that starts writes its address over that of the one before.

        On a machine of its own a node has that file alone; here all share the folder of the session, and a driver would
        take itself to be on the last node (``Node._wait_and_get_for_node_address``, ray/_private/node.py, 2.35.0).
        """
        for session in (self._folder / "ray").glob("session_2*"):
            (session / "node_ip_address.json").write_text(json.dumps({"node_ip_address": self._network.addresses[0]}))

    def _wait_for(self, done: Callable[[], bool], problem: str, last_seen: Callable[[], str] | None = None) -> None:
        while not done():
            self._check_processes()
            if self._left() <= 0.1:
                state = f" (last seen: {last_seen()})" if last_seen else ""
                raise ClusterError(f"{problem} within {self._limit_s:.0f} s{state}")
            time.sleep(0.05)

    def _check_processes(self) -> None:
        """Notice at once that a node did not come up, instead of waiting for it."""
        for index, (child, log) in enumerate(self._processes):
            status = child.poll()
            if status is not None:
                raise ClusterError(
                    f"`ray start` of node {index} ended with {describe_exit(status)}: {start_command.reason_in(log)}"
                )

    def _left(self) -> float:
        return max(0.1, self._limit_s - (time.monotonic() - self._began))

    def keep_logs(self, destination: str) -> str | None:
        """Copy Ray's logs, which end with the cluster, and return where they are now."""
        target = self._log_folder / destination
        shutil.rmtree(target, ignore_errors=True)  # of an earlier run
        target.mkdir(parents=True)
        for log in self._folder.glob("*.log"):
            shutil.copy(log, target / log.name)
        for session in (self._folder / "ray").glob("session_2*/logs"):
            shutil.copytree(session, target / "ray", dirs_exist_ok=True, ignore_dangling_symlinks=True)
        return str(target)

    def ask_to_end(self) -> None:
        """Have the processes of the cluster begin to end, without waiting; :meth:`close` does the rest."""
        self.observer.close()
        for child, _ in reversed(self._processes):
            child.ask_to_end()

    @property
    def has_ended(self) -> bool:
        """Whether no node is alive any more."""
        return all(child.poll() is not None for child, _ in self._processes)

    def close(self) -> None:
        """End every process of the cluster and remove its folder."""
        self.ask_to_end()  # all nodes at once
        for child, _ in reversed(self._processes):
            child.end(END_GRACE_S)
        self._processes.clear()
        self._network.close()
        self._children.reclaim_shared_memory()
        shutil.rmtree(self._folder, ignore_errors=True)


def describe_nodes(nodes: Sequence[ObservedNode]) -> str:
    """Say which nodes there are: ``127.0.0.2 with 1 GPU``."""
    return ", ".join(f"{node.address} with {node.gpus:.0f} GPUs" for node in nodes) or "no node"
