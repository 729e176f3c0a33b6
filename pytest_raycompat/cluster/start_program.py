"""``ray start`` without what starting a node does not need: the command line of Ray Serve.

Ray's command line imports Ray Serve to offer ``serve`` as a command of its own, and does without where it cannot
(ray/scripts/scripts.py, 2.35.0 to 2.60.0). That is half of what it takes until a node begins to start: 2 s of 4.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

NOT_NEEDED = "ray.serve.scripts"


def main() -> None:
    """Run Ray's command line with the arguments of this process."""
    cast("dict[str, ModuleType | None]", sys.modules)[NOT_NEEDED] = None  # importing it raises ImportError
    from ray.scripts.scripts import main as ray

    ray()


if __name__ == "__main__":
    main()
