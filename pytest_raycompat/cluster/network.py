"""The addresses of a local cluster's nodes: on the loopback device, or in network namespaces of their own."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pytest_raycompat.cluster.protocol import ClusterError
from pytest_raycompat.processes.children import Child, Children

PROGRAMS = ("unshare", "nsenter", "ip")
COMMAND_LIMIT_S = 10.0
DEVICE = "eth0"
"""Name of each node's end of its link."""


class Network(Protocol):
    """Where the nodes of a cluster are."""

    addresses: Sequence[str]
    """Of the nodes, the head first."""
    variables: Mapping[str, str]
    """What the processes on a node need to know of its network."""

    def on(self, index: int) -> list[str]:
        """Return the command that runs what follows it on a node."""

    def reachable(self) -> bool:
        """Whether this process can connect to the nodes."""

    def carried(self) -> dict[str, int]:
        """Return how many bytes the link of each node has carried, by its address; empty without links."""

    def close(self) -> None:
        """Take it away."""


class Loopback:
    """Addresses of the loopback device.

    127.0.0.1 is turned into the machine's own address by Ray; others in 127/8 are kept (seen, 2.35.0 to 2.60.0).
    """

    variables: Mapping[str, str] = {}

    def __init__(self, count: int) -> None:
        chance = random.SystemRandom()  # plugins seed the other one alike in every pytest-xdist worker
        network = f"127.{chance.randint(1, 254)}.{chance.randint(0, 254)}"
        self.addresses: Sequence[str] = [f"{network}.{2 + index}" for index in range(count)]

    def on(self, index: int) -> list[str]:
        """Nothing: every process here is on every node."""
        return []

    def reachable(self) -> bool:
        """Yes."""
        return True

    def carried(self) -> dict[str, int]:
        """Nothing can be told apart on the loopback device."""
        return {}

    def close(self) -> None:
        """There is nothing to take away."""


class Namespaces:
    """A network namespace for each node, joined by links to a bridge in one more; they end with their processes.

    Args:
        children: starts the processes that hold them.
        count: of the nodes.

    Raises:
        ClusterError: they cannot be made here.
    """

    # gloo takes the address of the host's name otherwise, which no node has
    variables: Mapping[str, str] = {"GLOO_SOCKET_IFNAME": DEVICE, "NCCL_SOCKET_IFNAME": DEVICE}

    def __init__(self, children: Children, count: int) -> None:
        self._children = children
        self._holders: list[Child] = []
        network = f"10.{random.randint(1, 254)}.{random.randint(0, 254)}"
        self.addresses: Sequence[str] = [f"{network}.{2 + index}" for index in range(count)]
        try:
            self._switch = self._hold()
            self._ip(self._switch, "link add bridge type bridge")
            self._ip(self._switch, "link set bridge up")
            self._nodes = [self._join(index) for index in range(count)]
        except BaseException:
            self.close()
            raise

    def _hold(self) -> Child:
        """Start a process in a namespace of its own."""
        ours = Path("/proc/self/ns/net").readlink()
        child = self._children.start(["unshare", "--net", "sleep", "infinity"], environment={"PATH": "/usr/bin:/bin"})
        self._holders.append(child)
        began = time.monotonic()
        while child.poll() is None and Path(f"/proc/{child.pid}/ns/net").readlink() == ours:
            if time.monotonic() - began > COMMAND_LIMIT_S:
                raise ClusterError(f"no network namespace was made within {COMMAND_LIMIT_S:.0f} s")
            time.sleep(0.005)
        if child.poll() is not None:
            raise ClusterError(f"no network namespace can be made: {lacking_namespaces() or 'unshare --net failed'}")
        return child

    def _join(self, index: int) -> Child:
        node = self._hold()
        self._ip(self._switch, f"link add node{index} type veth peer name {DEVICE} netns {node.pid}")
        self._ip(self._switch, f"link set node{index} master bridge up")
        self._ip(node, f"address add {self.addresses[index]}/24 dev {DEVICE}")
        self._ip(node, f"link set {DEVICE} up")
        self._ip(node, "link set lo up")
        return node

    def _ip(self, holder: Child, words: str) -> None:
        command = [*entering(holder), "ip", *words.split()]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False)
        if finished.returncode:
            raise ClusterError(f"`ip {words}` failed in a network namespace: {finished.stderr.strip()}")

    def on(self, index: int) -> list[str]:
        """Return the command that enters a node's namespace."""
        return entering(self._nodes[index])

    def reachable(self) -> bool:
        """No: this process is in none of the namespaces."""
        return False

    def carried(self) -> dict[str, int]:
        """Return how many bytes the link of each node has carried, both ways."""
        counted = {}
        for line in Path(f"/proc/{self._switch.pid}/net/dev").read_text().splitlines():
            name, _, numbers = line.strip().partition(":")
            if name.startswith("node"):
                fields = numbers.split()
                counted[self.addresses[int(name.removeprefix("node"))]] = int(fields[0]) + int(fields[8])
        return counted

    def close(self) -> None:
        """End the processes that hold the namespaces, and with them the namespaces."""
        for holder in self._holders:
            holder.end(0.0)
        self._holders.clear()


def entering(holder: Child) -> list[str]:
    """Return the command that runs what follows it in the namespace of ``holder``."""
    return ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]


def lacking_namespaces() -> str | None:
    """Say why this user cannot make network namespaces here; None where they can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"network namespaces need {', '.join(missing)} (Debian: util-linux and iproute2)"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, timeout=10, check=False)
    return f"network namespaces need root: {tried.stderr.strip()}" if tried.returncode else None
