"""How long a probe takes, and how much memory: one pair from an empty cache and again, and all pairs of many releases.

Run it as ``python benchmarks/probe.py``. It needs a package index; ``--ray`` and ``--vllm`` say how many of the newest
releases make the pairs. What it reads is kept in a folder of its own, so that the first probe is a cold one.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time

ONE_PAIR = ("--ray", "2.35.0", "--vllm", "0.32.0")
LIMITS = {"cold": 15.0, "warm": 2.0, "all pairs warm": 300.0}
"""In seconds."""
LIMIT_GIB = 1.5


def timed(name: str, words: list[str], cache: str) -> tuple[float, float, float]:
    """Run ``raycompat probe`` once; return the seconds, those of the processor, and the most memory of a child, in GiB.

    On a busy machine the seconds of the processor tell more.
    """
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest_raycompat.cli", "probe", *words, "--format=json"]
    environment = {"XDG_CACHE_HOME": cache}
    finished = subprocess.run(
        ["env", *(f"{key}={value}" for key, value in environment.items()), *command],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if finished.returncode not in (0, 1):
        raise SystemExit(f"{name}: raycompat probe ended with {finished.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, worked, after.ru_maxrss / 2**20


def newest(package: str, count: int) -> list[str]:
    """List the options for the newest releases of a package."""
    from pytest_raycompat.probe.session import candidates
    from pytest_raycompat.releases import Target
    from pytest_raycompat.releases.index import Index

    with Index() as index:
        releases = candidates(index.releases(package), Target.here())[-count:]
    return [word for one in releases for word in (f"--{package}", one.version)]


def main() -> int:
    """Measure, print a line each, and return 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ray", type=int, default=60, help="releases of Ray; default: 60")
    parser.add_argument("--vllm", type=int, default=30, help="releases of vLLM; default: 30")
    parser.add_argument("--cache", help="a folder to keep; default: one that is removed in the end")
    arguments = parser.parse_args()
    late = False
    with tempfile.TemporaryDirectory(prefix="raycompat-benchmark-") as folder:
        cache = arguments.cache or folder
        pairs = [*newest("ray", arguments.ray), *newest("vllm", arguments.vllm)]
        runs = (("cold", [*ONE_PAIR]), ("warm", [*ONE_PAIR]), ("all pairs cold", pairs), ("all pairs warm", pairs))
        for name, words in runs:
            seconds, worked, memory = timed(name, words, cache)
            limit = LIMITS.get(name)
            late = late or (limit is not None and seconds > limit) or memory > LIMIT_GIB
            said = f", at most {limit:.0f} s" if limit is not None else ""
            print(
                f"{name}: {seconds:.1f} s{said}; {worked:.1f} s of the processor; "
                f"{memory:.2f} GiB, at most {LIMIT_GIB} GiB",
                flush=True,
            )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
