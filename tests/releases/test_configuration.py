from __future__ import annotations

from pathlib import Path

import pytest

from pytest_raycompat.releases import ReleaseError
from pytest_raycompat.releases.configuration import PYPI, read


def written(tmp_path: Path, text: str) -> tuple[Path, ...]:
    path = tmp_path / "pip.conf"
    path.write_text(text)
    return (path,)


def test_without_settings_it_is_pypi() -> None:
    assert read({}, files=()).indexes == (PYPI,)


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({"PIP_INDEX_URL": "https://pip.example/simple/"}, "https://pip.example/simple"),
        (
            {"PIP_INDEX_URL": "https://pip.example/simple", "UV_INDEX_URL": "https://uv.example/simple"},
            "https://uv.example/simple",
        ),
        ({"UV_DEFAULT_INDEX": "corp=https://uv.example/simple?a=b"}, "https://uv.example/simple?a=b"),
        ({"UV_DEFAULT_INDEX": "https://uv.example/simple?a=b"}, "https://uv.example/simple?a=b"),
        ({}, "https://file.example/simple"),
    ],
)
def test_variables_win_over_files(tmp_path: Path, variables: dict[str, str], first: str) -> None:
    files = written(tmp_path, "[global]\nindex-url = https://file.example/simple\n")
    assert read(variables, files=files).indexes == (first,)


def test_the_file_of_the_user_wins_and_install_wins_over_global(tmp_path: Path) -> None:
    (machine,) = written(
        tmp_path, "[global]\nindex-url = https://machine.example\n[install]\nindex_url = https://install.example\n"
    )
    user = tmp_path / "user.conf"
    user.write_text("[global]\nindex-url = https://user.example\ncert = /etc/certificates.pem\n")
    assert read({}, files=(machine, user)).indexes == ("https://install.example",)
    assert read({}, files=(machine, user)).certificates == "/etc/certificates.pem"


def test_further_indexes_come_after_the_first_and_once(tmp_path: Path) -> None:
    files = written(tmp_path, "[global]\nextra-index-url = https://a.example\n  https://b.example\n")
    assert read({}, files=files).indexes == (PYPI, "https://a.example", "https://b.example")
    assert read({"PIP_EXTRA_INDEX_URL": f"{PYPI}/"}, files=files).indexes == (PYPI,)


def test_the_files_are_where_pip_looks(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "pip"
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text("[global]\nindex-url = https://user.example\n")
    assert read({"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)}).indexes[0] == "https://user.example"
    assert read({"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}).indexes == (PYPI,)


def test_a_file_that_is_not_pips_is_named(tmp_path: Path) -> None:
    (path,) = written(tmp_path, "index-url = https://user.example\n")
    with pytest.raises(ReleaseError) as raised:
        read({}, files=(path,))
    assert str(raised.value) == f"{path}: not a configuration file of pip: File contains no section headers."
