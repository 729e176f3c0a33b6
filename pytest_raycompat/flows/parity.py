"""How close the outputs of an engine on Ray must be to those of its control."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LOGPROB_TOLERANCE: Mapping[str, float] = {"cpu": 1e-3, "cuda": 2e-2}
"""By device, absolute, in float32: sums are taken in another order with another number of ranks or another batch. On
2 H200 with vLLM 0.20.2 the tokens were equal, and log-probabilities differed by more than 1e-3."""


Completions = Sequence[Mapping[str, Any]]
"""As flows report them, each with ``text``; those of an engine without a server with ``token_ids`` and ``logprobs``."""


def assert_same_answers(result: Any, control: Any) -> None:
    """Compare what a flow generated with its control: tokens, and log-probabilities within the tolerance.

    Raises:
        AssertionError: they differ.
    """
    on_ray, without = result.outputs["completions"], control.outputs["completions"]
    assert_same_tokens(on_ray, without)
    difference, tolerance = largest_difference(on_ray, without), LOGPROB_TOLERANCE[result.device]
    if not difference < tolerance:  # also where it is no number
        raise AssertionError(
            f"log-probabilities differ by {difference:.3g} from the control's; allowed is {tolerance:g}"
        )


def assert_same_tokens(on_ray: Completions, control: Completions) -> None:
    """Compare the tokens of completions, prompt by prompt.

    Raises:
        AssertionError: they differ; says for each prompt from which token on.
    """

    def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
        tokens, expected = ours["token_ids"], theirs["token_ids"]
        if tokens == expected:
            return None
        same = same_tokens(tokens, expected)
        found, wanted = ((one[same : same + 1] or ["none"])[0] for one in (tokens, expected))
        return f"token {same + 1} of {len(tokens)} is {found}, the control's is {wanted}"

    _assert_alike(on_ray, control, difference)


def assert_same_texts(on_ray: Completions, control: Completions) -> None:
    """Compare the texts of completions, prompt by prompt; what a server gives has no tokens.

    Raises:
        AssertionError: they differ; names each that does.
    """

    def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
        if ours["text"] == theirs["text"]:
            return None
        return f"its text is {ours['text']!r}, the control's is {theirs['text']!r}"

    _assert_alike(on_ray, control, difference)


def _assert_alike(
    on_ray: Completions,
    control: Completions,
    difference: Callable[[Mapping[str, Any], Mapping[str, Any]], str | None],
) -> None:
    count = len(control)
    if len(on_ray) != count:
        raise AssertionError(f"{len(on_ray)} completions, the control has {count}")
    told = map(difference, on_ray, control)
    differing = [f"completion {number} of {count}: {said}" for number, said in enumerate(told, 1) if said is not None]
    if differing:
        raise AssertionError("; ".join(differing))


def same_tokens(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Count the tokens at the beginning that are the same."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(ours), len(theirs)))


def common_start(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cut two completions of one prompt after the first token in which they differ: what follows is another text."""
    differs = same_tokens(ours["token_ids"], theirs["token_ids"])
    cut = {name: slice(0, differs + 1) for name in ("token_ids", "logprobs")}
    short, other = ({**one, **{name: one[name][part] for name, part in cut.items()}} for one in (ours, theirs))
    return short, other


def largest_difference(on_ray: Completions, control: Completions) -> float:
    """Return by how much the log-probability of a candidate that both name differs at most; the chosen ones are.

    Args:
        on_ray: completions with ``logprobs``, as the ``generate`` flow reports them.
        control: as many, for the same prompts.
    """
    differences = (
        abs(float(step[token]) - float(expected[token]))
        for ours, theirs in zip(on_ray, control, strict=True)
        for step, expected in zip(ours["logprobs"], theirs["logprobs"], strict=True)
        for token in step.keys() & expected.keys()
    )
    return max(differences, key=lambda one: (math.isnan(one), one))  # what is no number differs most
