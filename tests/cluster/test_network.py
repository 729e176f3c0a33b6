from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_raycompat.cluster.network import Loopback, Namespaces, lacking_namespaces
from pytest_raycompat.processes.children import Children

LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 4000)) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    with connection:
        print(len(connection.makefile("rb").read()), flush=True)
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 4000), timeout=10) as connection:
    connection.sendall(b"x" * 200_000)
"""


@pytest.fixture
def children() -> Iterator[Children]:
    owner = Children()
    yield owner
    owner.close()


def test_addresses_of_the_loopback_device() -> None:
    loopback = Loopback(3)
    assert len(set(loopback.addresses)) == 3
    for address in loopback.addresses:
        with socket.socket() as probe:
            probe.bind((address, 0))
    assert (loopback.on(0), loopback.reachable(), loopback.carried()) == ([], True, {})


@pytest.mark.skipif(lacking_namespaces() is not None, reason=f"{lacking_namespaces()}")
def test_what_one_node_sends_another_crosses_both_links(children: Children) -> None:
    namespaces = Namespaces(children, 2)
    first, second = namespaces.addresses
    before = namespaces.carried()
    assert before.keys() == {first, second}
    with subprocess.Popen(
        [*namespaces.on(0), sys.executable, "-c", LISTEN, first], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        subprocess.run([*namespaces.on(1), sys.executable, "-c", SEND, first], check=True, timeout=20)
        assert server.stdout.readline() == "200000\n"
    after = namespaces.carried()
    assert all(after[address] - before[address] > 200_000 for address in (first, second))
    assert not namespaces.reachable()
    holders = [holder.pid for holder in namespaces._holders]
    namespaces.close()
    assert [pid for pid in holders if Path(f"/proc/{pid}").exists()] == []


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "ip" else f"/usr/bin/{name}")
    assert lacking_namespaces() == "network namespaces need ip (Debian: util-linux and iproute2)"


def test_without_root_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, stderr="unshare: unshare failed: Operation not permitted\n")

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", refused)
    assert lacking_namespaces() == ("network namespaces need root: unshare: unshare failed: Operation not permitted")
