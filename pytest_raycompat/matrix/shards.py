"""A matrix spread over several machines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """The part ``number`` of ``count``, counted from 1."""

    number: int = 1
    count: int = 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Take this part: every ``count``-th item, so that all parts are of much the same length."""
        return list(items[self.number - 1 :: self.count])


def read_shard(text: str) -> Shard:
    """Read ``--shard``.

    Raises:
        ValueError: it is not a part such as ``2/8``.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    shard = Shard(int(match[1]), int(match[2])) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.count:
        raise ValueError(f"--shard: {text!r} is not a part: write NUMBER/COUNT, from 1/4 to 4/4 for four machines")
    return shard
