"""What a module does with Ray and vLLM, in order: data that is kept for each release.

A *chain* is a dotted name from the root package on. ``()`` in it stands for what a call returns, and behind a class for
an instance: ``ray.get_runtime_context().get_node_id``.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Arguments(msgspec.Struct, frozen=True, array_like=True):
    """The arguments of a call."""

    positional: int
    keywords: tuple[str, ...]
    open: bool
    """Whether there are more, by ``*`` or ``**``."""


class Touch(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """A name is used; with ``arguments``, it is called."""

    chain: str
    line: int
    arguments: Arguments | None = None


class Import(msgspec.Struct, frozen=True, array_like=True, tag="i"):
    """A module is imported, or one name from it."""

    module: str
    name: str | None
    line: int


class Raise(msgspec.Struct, frozen=True, array_like=True, tag="x"):
    """An exception is raised. In its message, ``{ray}`` and ``{vllm}`` stand for versions, ``…`` for the unknown."""

    exception: str
    """Its name without its module; the empty text for the one that is being handled."""
    message: str
    line: int


class Return(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """The function ends."""

    line: int


class Lose(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """A name of the module is set to None."""

    name: str
    line: int


class Known(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """A test whose result is known, such as ``TYPE_CHECKING``."""

    value: bool


class Unclear(msgspec.Struct, frozen=True, array_like=True, tag="u"):
    """A test that the sources do not decide."""


class Not(msgspec.Struct, frozen=True, array_like=True, tag="n"):
    """The opposite of a test."""

    test: Test


class Both(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """All of several tests (``and``), or, with ``any``, one of them (``or``)."""

    any: bool
    tests: tuple[Test, ...]


class VersionTest(msgspec.Struct, frozen=True, array_like=True, tag="v"):
    """The installed version of a package is compared with one that is written in the code."""

    package: str
    operator: str
    version: str


class Has(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """``hasattr``, with a chain."""

    chain: str
    name: str


class Exists(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """``importlib.util.find_spec`` finds a module."""

    module: str


class Present(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A name is not None."""

    chain: str


class Setting(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """A variable of ``vllm.envs`` is true, or compares with ``value``."""

    name: str
    operator: str = ""
    value: str = ""


Test: TypeAlias = Known | Unclear | Not | Both | VersionTest | Has | Exists | Present | Setting


class If(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """One of two blocks is done. ``text`` is the line as it is written."""

    test: Test
    line: int
    text: str
    body: tuple[Step, ...]
    otherwise: tuple[Step, ...] = ()


class Handler(msgspec.Struct, frozen=True, array_like=True):
    """What is done about an exception; no ``types`` catches all."""

    types: tuple[str, ...]
    line: int
    body: tuple[Step, ...]


class Try(msgspec.Struct, frozen=True, array_like=True, tag="y"):
    """A block whose exceptions are handled."""

    body: tuple[Step, ...]
    handlers: tuple[Handler, ...]
    otherwise: tuple[Step, ...] = ()
    finally_: tuple[Step, ...] = ()


Step: TypeAlias = Touch | Import | Raise | Return | Lose | If | Try


class Function(msgspec.Struct, frozen=True, array_like=True):
    """The body of a function, and the chain that it returns where that is one and the same."""

    line: int
    body: tuple[Step, ...]
    returns: str | None = None


class Outline(msgspec.Struct, frozen=True, array_like=True):
    """A module: what its import does, its functions by qualified name, and what its imported names stand for.

    A binding that is the empty text stands for one of several things.
    """

    path: str
    body: tuple[Step, ...]
    functions: dict[str, Function]
    bindings: dict[str, str]
