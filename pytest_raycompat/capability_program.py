"""Says as JSON which names the Ray of the interpreter that runs it has; standard library alone, Python 3.9 and newer.

The names come as JSON on standard input: modules and attributes (``ray.data.llm``, ``ray.serve.llm.LLMConfig``), and
parameters (``ray.dag.DAGNode.experimental_compile(_overlap_gpu_communication)``).
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from typing import Any


class Absent(Exception):
    """The name, or something that it is in, does not exist."""


def find_module(name: str, path: Any) -> Any:
    """Return the spec of the module ``name`` below a package's ``path``, importing nothing; None without one."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, path) if find is not None else None
        if spec is not None:
            return spec
    return None


def split(name: str) -> tuple[str, list[str]]:
    """Split a dotted name into the longest module that exists, and the attributes that are left.

    Nothing is imported for that: importing a parent of ``ray.data.llm`` needs packages that the answer does not.

    Raises:
        Absent: not even its first part is a module, or a part is neither a module nor in one that may have attributes.
    """
    parts = name.split(".")
    path = None
    for count in range(len(parts)):
        module = ".".join(parts[: count + 1])
        spec = find_module(module, path)
        if spec is None:
            if count == 0:
                raise Absent(module)
            return ".".join(parts[:count]), parts[count:]
        path = spec.submodule_search_locations
        if path is None:
            return module, parts[count + 1 :]
    return name, []


def has_parameter(function: Any, parameter: str) -> bool:
    """Whether ``function``, without its decorators, takes ``parameter``; one that takes any (``**kwargs``) does."""
    parameters = inspect.signature(function).parameters
    return parameter in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def look_up(name: str) -> None:
    """Find what ``name`` stands for.

    Raises:
        Absent: it does not exist.
        Exception: whatever kept Ray's module from being imported, or its signature from being read.
    """
    dotted, _, parameter = name.rstrip(")").partition("(")
    module, attributes = split(dotted)
    if not attributes and not parameter:
        return
    value = importlib.import_module(module)
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            raise Absent(dotted) from None
    if parameter and not has_parameter(value, parameter):
        raise Absent(name)


def describe(name: str) -> dict[str, str]:
    """Say whether ``name`` is ``present``, ``absent`` or, with the reason, ``unknown``."""
    try:
        look_up(name)
    except Absent:
        return {"state": "absent", "why": ""}
    except BaseException as error:  # a broken Ray may even call sys.exit
        return {"state": "unknown", "why": f"{type(error).__name__}: {error}"}
    return {"state": "present", "why": ""}


def main() -> None:
    """Answer on what was standard output, which Ray may write to while it is imported."""
    names = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump({name: describe(name) for name in names}, answers)
    answers.close()


if __name__ == "__main__":
    del sys.path[0]  # where this file lies, which is no place to import from
    main()
