"""All that the probe keeps of a release, and the rules for what of it is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from pytest_raycompat.probe.definitions import Module
from pytest_raycompat.probe.outline import Outline
from pytest_raycompat.probe.outlining import outline

OWN = "pytest_raycompat"
"""The package of the flows, which are programs that use both."""
FORMAT = 4
"""Of what is kept; to be raised with every change of what an outline or a definition holds."""
SOURCES = (".py", ".pyi", ".so", ".pyx", ".pxd")
_LEFT_OUT = {
    "ray": re.compile(
        r"ray/(rllib|tune|thirdparty_files|dashboard/client|train|air|autoscaler|cpp|jars|tests|"
        r"_private/(thirdparty|runtime_env/agent/thirdparty|workers|arrow_utils))(/|$)|.*/(tests|benchmarks?)/"
    ),
    OWN: re.compile(r"pytest_raycompat/(?!flows/|cluster/observer_program\.py)"),
    "vllm": re.compile(
        r"vllm/(third_party|vllm_flash_attn|models|kernels|tool_parsers|reasoning|benchmarks|lora|"
        r"model_executor/(models|layers|kernels|warmup)|transformers_utils/(configs|processors))(/|$)"
    ),
}
"""What neither uses of the other, by path: it is not looked through for uses. A name in it can still be looked up."""
_OUTLINED_IN_RAY = re.compile(r"ray/(llm/|data/llm|serve/llm)")
_RAY = re.compile(rb"\bray\b")
_VARIABLE = re.compile(rb"[\"']((?:VLLM|RAY)_[A-Za-z0-9_]{2,})[\"']")


class Facts(msgspec.Struct, array_like=True):
    """What is known of a release; definitions are added when they are first asked for."""

    package: str
    version: str | None
    names: tuple[str, ...]
    """Its files that can be imported."""
    requires: tuple[str, ...]
    """Its ``Requires-Dist``."""
    outlines: dict[str, Outline]
    variables: frozenset[str]
    """Environment variables of Ray and vLLM that its Python files name."""
    used: dict[str, tuple[str, int]]
    """Those of the other package, with the place where one is named first."""
    modules: dict[str, Module | None] = {}
    """None for one that cannot be parsed."""


def pack(facts: Facts) -> bytes:
    """Return what is kept in the cache."""
    return msgspec.msgpack.encode(facts)


def unpack(content: bytes) -> Facts | None:
    """Read what :func:`pack` wrote; None for anything else."""
    try:
        return msgspec.msgpack.decode(content, type=Facts)
    except msgspec.MsgspecError:
        return None


def importable(names: Iterable[str], package: str) -> tuple[str, ...]:
    """Pick the files that can be imported."""
    return tuple(name for name in names if name.startswith(f"{package}/") and name.endswith(SOURCES))


def to_read(names: Iterable[str], package: str) -> list[str]:
    """Pick the files that are looked through."""
    left_out = _LEFT_OUT[package]
    return [name for name in names if name.endswith(".py") and not left_out.match(name)]


def extract(
    package: str, version: str | None, names: tuple[str, ...], sources: Mapping[str, bytes], metadata: str
) -> Facts:
    """Look a release's sources through."""
    variables = set()
    outlines: dict[str, Outline] = {}
    used: dict[str, tuple[str, int]] = {}
    others = "VLLM_" if package == "ray" else "RAY_"
    for path, content in sorted(sources.items()):
        variables |= {name.decode() for name in _VARIABLE.findall(content)}
        if not matters(package, path, content):
            continue
        module = module_of(path)
        try:
            outlines[module] = outline(content.decode("utf-8", "replace"), module, path, package)
        except (SyntaxError, ValueError, RecursionError):
            continue  # a file of a newer Python, or a template
        for match in _VARIABLE.finditer(content):
            name = match[1].decode()
            if name.startswith(others):
                used.setdefault(name, (path, content.count(b"\n", 0, match.start()) + 1))
    requires = tuple(re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE))
    found = re.search(r"^Version: (.+)$", metadata, re.MULTILINE)
    return Facts(
        package=package,
        version=found[1].strip() if found else version,
        names=names,
        requires=requires,
        outlines=outlines,
        variables=frozenset(variables),
        used=used,
    )


def matters(package: str, path: str, content: bytes) -> bool:
    """Tell whether a file has to do with the other package."""
    if package == OWN:
        return True
    if package == "ray":
        return _OUTLINED_IN_RAY.match(path) is not None
    return _RAY.search(content) is not None


def module_of(path: str) -> str:
    """Return the dotted name of a Python file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
