from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from pytest_raycompat.releases import ReleaseError, Target
from pytest_raycompat.releases.index import FRESH_S, Index, _Listing

OpenIndex: TypeAlias = Callable[..., Index]
PYTHON_311 = Target((3, 11), ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64"))


def wheel(version: str, python: str = "cp311", platform: str = "manylinux_2_17_x86_64", name: str = "ray") -> str:
    return f"{name}-{version}-{python}-{python}-{platform}.whl"


@pytest.fixture
def open_index() -> Generator[OpenIndex]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Index(**options))


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def with_ray(index: Any) -> Any:
    index.add("ray", wheel("2.9.3"), b"", **{"upload-time": "2024-02-22T19:45:00.700762Z"})
    index.add("ray", wheel("2.35.0"), b"", **{"requires-python": ">=3.8", "upload-time": "2024-08-27T23:41:00Z"})
    index.add("ray", wheel("2.35.0", "cp38"), b"", **{"upload-time": "2024-08-28T23:41:00Z"})
    index.add("ray", wheel("2.60.0", "cp312"), b"", yanked="metrics lost")
    index.add("ray", "ray-2.61.0.tar.gz", b"")
    index.add("ray", "ray-0.1.1.win32.exe", b"")
    return index


def test_releases_are_sorted_as_versions_and_say_what_a_user_asks(with_ray: Any, open_index: OpenIndex) -> None:
    releases = open_index().releases("Ray")
    assert [release.version for release in releases] == ["2.9.3", "2.35.0", "2.60.0", "2.61.0"]
    assert releases[1].uploaded == datetime.datetime(2024, 8, 27, 23, 41, tzinfo=datetime.UTC)
    assert releases[1].requires_python == ">=3.8"
    assert [release.yanked for release in releases] == [None, None, "metrics lost", None]
    chosen = releases[1].wheel(PYTHON_311)
    assert chosen is not None and chosen.name == wheel("2.35.0")
    assert chosen.url == with_ray.address.replace("/simple", "/files/") + chosen.name
    assert releases[2].wheel(PYTHON_311) is None
    assert releases[3].wheel(PYTHON_311) is None and releases[3].sdist is not None


def test_an_index_without_json_is_read_too(with_ray: Any, open_index: OpenIndex) -> None:
    with_ray.json = False
    releases = open_index().releases("ray")
    assert [release.version for release in releases] == ["2.9.3", "2.35.0", "2.60.0", "2.61.0"]
    assert [release.yanked for release in releases] == [None, None, "metrics lost", None]
    assert releases[1].requires_python == ">=3.8"
    assert releases[1].uploaded is None
    chosen = releases[1].wheel(PYTHON_311)
    assert chosen is not None and chosen.url == with_ray.address.replace("/simple", "/files/") + chosen.name


def test_a_release_is_found_however_its_version_is_written(with_ray: Any, open_index: OpenIndex) -> None:
    assert open_index().release("ray", "2.35").version == "2.35.0"


def test_an_unknown_release_names_the_nearest(with_ray: Any, open_index: OpenIndex) -> None:
    with pytest.raises(ReleaseError) as raised:
        open_index().release("ray", "2.36.0")
    assert str(raised.value) == f"there is no ray 2.36.0 on {with_ray.address}: the nearest are 2.35.0 and 2.60.0"


def test_what_is_not_a_version_is_said_without_asking(with_ray: Any, open_index: OpenIndex) -> None:
    with pytest.raises(ReleaseError, match=r"^'newest' is not a version of ray: write one such as 2\.60\.0$"):
        open_index().release("ray", "newest")
    assert not with_ray.asked


def test_a_package_that_the_index_has_not(index: Any, open_index: OpenIndex) -> None:
    with pytest.raises(ReleaseError) as raised:
        open_index().releases("ray")
    assert str(raised.value) == f"there is no package ray on {index.address}"


def test_the_answer_is_kept(with_ray: Any, open_index: OpenIndex) -> None:
    open_index().releases("ray")
    assert open_index().releases("ray")
    assert len(with_ray.asked) == 1
    assert open_index(refresh=True).releases("ray")
    assert len(with_ray.asked) == 2


def test_an_old_answer_is_used_without_a_network_and_said(
    with_ray: Any, open_index: OpenIndex, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_index().releases("ray")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + FRESH_S * 5)
    with_ray.statuses += [503, 503, 503]
    assert open_index(warn=warnings.append).releases("ray")
    server = with_ray.address.removesuffix("/simple")
    assert warnings == [
        f"{server} cannot be reached (it answers 503): is there a network, or another index to set?; "
        "its list of ray of 5 hours ago is used"
    ]


def test_without_a_network_and_without_an_answer_kept(
    index: Any, open_index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(ReleaseError) as raised:
        open_index().releases("ray")
    assert str(raised.value).startswith("http://127.0.0.1:9 cannot be reached (")
    assert str(raised.value).endswith("): is there a network, or another index to set?")


def test_a_passing_error_of_the_server_is_tried_again(with_ray: Any, open_index: OpenIndex) -> None:
    with_ray.statuses += [502]
    assert open_index().releases("ray")


def test_an_index_that_wants_a_password_keeps_ours_to_itself(
    with_ray: Any, open_index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_ray.statuses += [401]
    monkeypatch.setenv("PIP_INDEX_URL", with_ray.address.replace("//", "//user:secret@"))
    with pytest.raises(ReleaseError) as raised:
        open_index().releases("ray")
    assert str(raised.value) == (
        f"{with_ray.address.replace('//', '//***@')}/ray/ answers 401: it wants a name and a password, "
        "which the address of the index can have (https://NAME:PASSWORD@…)"
    )


def test_what_is_no_index_is_said(index: Any, open_index: OpenIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("ray", wheel("2.35.0"), b"")
    monkeypatch.setattr(index, "page", lambda package: b"[]")
    with pytest.raises(
        ReleaseError, match="/simple/ray/: not a page of the simple API: Expected `object`, got `array`"
    ):
        open_index().releases("ray")


def test_further_indexes_are_asked_too(
    index: Any, open_index: OpenIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("ray", wheel("2.35.0"), b"")
    folder = tmp_path / "simple" / "ray"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f'<html><a href="{wheel("2.35.0+corp.3")}">a fork</a></html>')
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", (tmp_path / "simple").as_uri())
    releases = open_index().releases("ray")
    assert [release.version for release in releases] == ["2.35.0", "2.35.0+corp.3"]
    assert releases[1].files[0].url == f"{folder.as_uri()}/{wheel('2.35.0+corp.3')}"


def test_a_listing_of_another_form_is_fetched_anew(with_ray: Any, open_index: OpenIndex) -> None:
    asked = open_index()
    url = f"{with_ray.address}/ray/"
    asked._cache.put("listings", url, msgspec.msgpack.encode({"asked": time.time()}))
    assert asked.releases("ray")
    assert isinstance(asked._kept(url), _Listing)
