from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat.environments import store as store_module
from pytest_raycompat.environments.building import BuildError, Order
from pytest_raycompat.environments.store import MARKER, EnvironmentStore


class Maker:
    """Builds empty environments, or fails as it is told."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.fails: list[BaseException] = []

    def __call__(self, order: Order, folder: Path, log: Path) -> None:
        self.built.append(order.name)
        (folder / "bin").mkdir()
        (folder / "bin" / "python").touch()
        if self.fails:
            raise self.fails.pop(0)


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setattr(store_module, "installed", lambda folder, scratch: "ray==1\n")
    return Maker()


@pytest.fixture
def make_store(maker: Maker, tmp_path: Path) -> Callable[..., EnvironmentStore]:
    def make(keep: int = 2, **fields: object) -> EnvironmentStore:
        return EnvironmentStore(tmp_path / "environments", keep=keep, make=maker, **fields)  # type: ignore[arg-type]

    return make


def order(name: str, room_gib: float = 0.0) -> Order:
    return Order(name=name, python="3.11", requirements=(name,), room_gib=room_gib)


def use(store: EnvironmentStore, name: str, room_gib: float = 0.0) -> None:
    with store.use(order(name, room_gib), store.folder / "log"):
        time.sleep(0.002)


def names(store: EnvironmentStore) -> list[str]:
    return sorted(path.parent.name.rpartition("-")[0] for path in store.folder.glob(f"*/{MARKER}"))


def test_an_environment_is_built_once(make_store: Callable[..., EnvironmentStore], maker: Maker) -> None:
    store = make_store()
    with store.use(order("a"), store.folder / "log") as (python, marker):
        assert python.is_file()
        assert marker.installed == "ray==1\n"
    use(store, "a")
    assert maker.built == ["a"]


def test_the_newest_stay(make_store: Callable[..., EnvironmentStore]) -> None:
    told: list[str] = []
    store = make_store(keep=2, tell=told.append)
    for name in ("a", "b", "a", "c"):
        use(store, name)
    assert names(store) == ["a", "c"]
    assert told == [f"deleting the environment {order('b').folder_name}: the newest 2 are kept, where there is room"]


def test_older_ones_make_room(make_store: Callable[..., EnvironmentStore], tmp_path: Path) -> None:
    folder = tmp_path / "environments"

    def free(path: Path) -> int:  # each environment has a GiB of three
        return (3 - len(list(folder.glob(f"*/{MARKER}")))) * 2**30

    store = make_store(keep=10, free_bytes=free)
    use(store, "a")
    use(store, "b")
    use(store, "c", room_gib=2)
    assert names(store) == ["b", "c"]


def test_what_we_did_not_make_is_left_alone(make_store: Callable[..., EnvironmentStore]) -> None:
    store = make_store(keep=1)
    theirs = store.folder / "theirs"
    theirs.mkdir(parents=True)
    (theirs / "pyvenv.cfg").touch()
    (store.folder / ".deleting-theirs").mkdir()
    for name in ("a", "b", "c"):
        use(store, name)
    assert names(store) == ["c"]
    assert (theirs / "pyvenv.cfg").exists()
    assert (store.folder / ".deleting-theirs").exists()


def test_a_folder_of_somebody_elses_in_the_way(make_store: Callable[..., EnvironmentStore]) -> None:
    store = make_store()
    place = store.folder / order("a").folder_name
    place.mkdir(parents=True)
    with pytest.raises(BuildError) as raised:
        use(store, "a")
    assert str(raised.value) == f"{place} is there and was not made by raycompat: move it away"
    assert place.is_dir()


def test_one_in_use_is_not_deleted(make_store: Callable[..., EnvironmentStore]) -> None:
    store = make_store(keep=1)
    with store.use(order("a"), store.folder / "log"):
        use(make_store(keep=1), "b")
        assert names(store) == ["a", "b"]
    use(store, "c")
    assert names(store) == ["c"]


def test_what_was_interrupted_is_built_anew(make_store: Callable[..., EnvironmentStore], maker: Maker) -> None:
    store = make_store()
    use(store, "a")
    marker = store.folder / order("a").folder_name / MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "ready": False}))
    (marker.parent / "half").touch()
    use(store, "a")
    assert maker.built == ["a", "a"]
    assert not (marker.parent / "half").exists()


def test_a_truncated_marker_is_ours_and_built_anew(make_store: Callable[..., EnvironmentStore], maker: Maker) -> None:
    store = make_store()
    use(store, "a")
    marker = store.folder / order("a").folder_name / MARKER
    marker.write_bytes(marker.read_bytes()[:10])
    use(store, "a")
    assert maker.built == ["a", "a"]


@pytest.mark.parametrize("error", [BuildError("unresolvable", "no"), KeyboardInterrupt()], ids=["fails", "interrupted"])
def test_what_fails_leaves_nothing(
    error: BaseException, make_store: Callable[..., EnvironmentStore], maker: Maker
) -> None:
    store = make_store()
    maker.fails = [error]
    with pytest.raises(type(error)):
        use(store, "a")
    assert [path.name for path in store.folder.iterdir()] == [".locks"]


def test_a_full_disk_costs_the_others_and_is_tried_once_more(
    make_store: Callable[..., EnvironmentStore], maker: Maker
) -> None:
    store = make_store(keep=5)
    use(store, "a")
    maker.fails = [BuildError("disk-full", "No space left on device")]
    use(store, "b")
    assert maker.built == ["a", "b", "b"]
    assert names(store) == ["b"]


def test_a_disk_that_stays_full(make_store: Callable[..., EnvironmentStore], maker: Maker) -> None:
    store = make_store()
    maker.fails = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
    with pytest.raises(BuildError) as raised:
        use(store, "a")
    assert raised.value.kind == "disk-full"
    assert str(raised.value) == f"{store.folder}: No space left on device"


def test_what_a_killed_process_was_deleting_goes(make_store: Callable[..., EnvironmentStore]) -> None:
    store = make_store()
    use(store, "a")
    os.rename(store.folder / order("a").folder_name, store.folder / ".deleting-a-1")
    store.prune(2)
    assert not (store.folder / ".deleting-a-1").exists()
