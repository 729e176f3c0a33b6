"""Ports that programs which are to be started can listen on; the flows choose theirs here too."""

from __future__ import annotations

import contextlib
import random
import socket
from collections import deque
from pathlib import Path

CONNECTION_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST_PORT, PORT_TRIES = 20000, 64
"""Below are the ports that Ray takes by default (ray start --help, 2.60.0)."""
_given: deque[int] = deque(maxlen=256)
"""The last that this process gave: what one was given for may not listen on it yet."""


def free_port() -> int:
    """Return a TCP port that nothing listens on right now, at whatever address of this machine.

    It is none of those that the system gives to connections, any of which could take it before it is listened on: Ray's
    GCS listens at all addresses and does not start then ("Failed to start GCS", ray 2.35.0). Nor is it one that was
    returned a while ago: a node refuses to have one port for two of its components (ray/_private/parameter.py, 2.60.0).
    """
    try:
        first, last = map(int, CONNECTION_PORTS.read_text().split())
    except OSError:  # no Linux
        first, last = 32768, 2**16 - 1
    ports = [*range(LOWEST_PORT, first), *range(last + 1, 2**16)]
    for port in [*random.SystemRandom().sample(ports, min(len(ports), PORT_TRIES)), 0]:  # 0: the system chooses
        if port in _given:
            continue
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                _given.append(probe.getsockname()[1])
                return _given[-1]
    raise OSError("no TCP port is free")


def accepts(host: str, port: int) -> bool:
    """Tell whether something accepts TCP connections there."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True
