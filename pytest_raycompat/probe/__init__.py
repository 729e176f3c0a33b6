"""Whether vLLM and Ray fit together, read from their sources: neither is installed nor run.

- :mod:`~pytest_raycompat.probe.outlining` reduces a module to what it does with the other package, in the order in
  which it does it, with the conditions and handlers around it.
- :mod:`~pytest_raycompat.probe.definitions` lists what a module defines, as griffe reads it.
- :mod:`~pytest_raycompat.probe.resolving` looks names up in these definitions.
- :mod:`~pytest_raycompat.probe.walking` walks the outlines that a flow reaches, and finds what is missing.
"""
