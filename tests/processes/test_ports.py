from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pytest_raycompat.processes import ports
from pytest_raycompat.processes.ports import free_port


def test_a_free_port_is_free_at_every_address() -> None:
    for port in {free_port() for _ in range(3)}:
        with socket.socket() as probe:
            probe.bind(("", port))


def test_no_port_is_given_for_two_things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CONNECTION_PORTS", tmp_path / "range")
    (tmp_path / "range").write_text(f"{ports.LOWEST_PORT + 200}\t65535\n")
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == 100


def test_a_free_port_is_none_that_a_connection_could_take() -> None:
    first, last = map(int, ports.CONNECTION_PORTS.read_text().split())
    assert not any(first <= free_port() <= last for _ in range(20))


def test_a_port_that_something_listens_on_at_another_address_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = free_port()
    monkeypatch.setattr(ports, "LOWEST_PORT", taken)
    monkeypatch.setattr(ports, "CONNECTION_PORTS", tmp_path / "range")
    (tmp_path / "range").write_text(f"{taken + 1}\t65535\n")  # leaves one port to choose
    ports._given.clear()
    assert free_port() == taken
    ports._given.clear()
    with socket.socket() as listening:
        listening.bind(("127.0.0.9", taken))
        listening.listen()
        assert free_port() != taken


def test_where_nothing_says_which_ports_connections_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CONNECTION_PORTS", tmp_path / "not there")
    assert ports.LOWEST_PORT <= free_port() < 32768


def test_where_every_port_may_be_a_connections_the_system_chooses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "CONNECTION_PORTS", tmp_path / "range")
    (tmp_path / "range").write_text("1024\t65535\n")
    assert free_port() >= 1024
