"""Makes a fork of the Ray that is installed: another version, other text in some files, and links to all the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path


def make_fork(folder: Path, version: str, edits: Mapping[str, Callable[[str], str]]) -> Path:
    """Make a folder that, on ``PYTHONPATH``, stands for the installed Ray.

    Args:
        folder: where to make it.
        version: what it calls itself, such as ``2.35.0+corp.1``.
        edits: what becomes of the text of files, by their paths in the package, such as ``dag/dag_node.py``.
    """
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.submodule_search_locations
    original = Path(spec.submodule_search_locations[0])
    installed = importlib.metadata.version("ray")
    edits = {**edits, "_version.py": lambda text: text.replace(f'"{installed}"', f'"{version}"')}
    for name, edit in edits.items():
        _unfold(original, folder / "ray", Path(name).parent)
        path = folder / "ray" / name
        text = path.read_text()
        assert edit(text) != text, f"{name} has not what is to be changed"
        path.unlink()
        path.write_text(edit(text))
    information = folder / f"ray-{version}.dist-info"
    information.mkdir()
    metadata = importlib.metadata.distribution("ray").read_text("METADATA")
    assert metadata is not None
    (information / "METADATA").write_text(metadata.replace(f"\nVersion: {installed}\n", f"\nVersion: {version}\n"))
    return folder


def _unfold(original: Path, copy: Path, inside: Path) -> None:
    """Make real folders down to ``inside``, whose entries are links."""
    for parent in [*reversed(inside.parents), inside]:
        target = copy / parent
        if target.is_symlink():
            target.unlink()
        if target.exists():
            continue
        target.mkdir(parents=True)
        for entry in os.scandir(original / parent):
            if entry.name != "__pycache__":
                (target / entry.name).symlink_to(entry.path)
