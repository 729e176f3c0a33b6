"""What was said of each pair before it was run, and how often that was right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from pytest_raycompat.files import UNREADABLE
from pytest_raycompat.probe.findings import UNTOLD, Status
from pytest_raycompat.records import Verdict
from pytest_raycompat.report.document import TestRecord
from pytest_raycompat.versions import is_version, parse_specifier, satisfies

Score = Literal["hit", "miss", "false alarm", "not scored"]
"""``miss``: it failed, and nothing was said to break. ``false alarm``: it was said to break, and passed.
``not scored``: nothing was said, or nothing was measured."""

WORKS: frozenset[Verdict] = frozenset({"passed", "gap-closed"})
FAILS: frozenset[Verdict] = frozenset({"known-gap", "gap-changed", "failed", "crashed", "timed-out"})


class PredictionError(ValueError):
    """A file does not hold predictions; says what is wrong."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was said of one flow on one pair."""

    ray: str
    vllm: str
    flow: str
    """Its name; with its executor after a space, such as ``generate ray-v1``, only the runs with that one."""
    parameters: dict[str, Any] = {}
    """Of the flow; it is about every run that has these among its own."""
    said: Status
    why: str = ""

    @property
    def name(self) -> str:
        """Name the flow alone."""
        return self.flow.partition(" ")[0]

    @property
    def wanted(self) -> dict[str, Any]:
        """Parameters that a run must have for it to be about that."""
        executor = self.flow.partition(" ")[2]
        return {**({"executor": executor} if executor else {}), **self.parameters}


class Explanation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why what was said did not come true, or why a flow failed without a known gap."""

    flow: str
    """As that of a prediction."""
    ray: str | None = None
    """A specifier; None for all versions."""
    vllm: str | None = None
    text: str

    def holds(self, flow: str, ray: str, vllm: str) -> bool:
        """Tell whether it is about a flow, which may have its executor after a space, on a pair."""
        return self.flow in (flow, flow.partition(" ")[0]) and all(
            specifier is None or (is_version(version) and satisfies(version, specifier))
            for specifier, version in ((self.ray, ray), (self.vllm, vllm))
        )


class Predictions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of predictions."""

    predictions: tuple[Prediction, ...] = ()
    explanations: tuple[Explanation, ...] = ()

    def explained(self, flow: str, ray: str, vllm: str) -> str:
        """Say why a flow did on a pair what was not expected of it."""
        return next((one.text for one in self.explanations if one.holds(flow, ray, vllm)), "not explained yet")

    def of(self, ray: str, vllm: str, record: TestRecord) -> Prediction | None:
        """Find what was said of a test's flow; of several, what names the most parameters."""
        about = [
            one
            for one in self.predictions
            if (one.ray, one.vllm) == (ray, vllm) and one.name == record.flow and _among(one.wanted, record.parameters)
        ]
        return max(about, key=lambda one: len(one.wanted), default=None)


class _Finding(msgspec.Struct, frozen=True):
    status: str
    message: str


class _Flow(msgspec.Struct, frozen=True):
    flow: str
    status: Status
    findings: tuple[_Finding, ...] = ()


class _Result(msgspec.Struct, frozen=True):
    flows: tuple[_Flow, ...]


class _Pair(msgspec.Struct, frozen=True):
    ray: str
    vllm: str
    result: _Result | None = None


class _Probed(msgspec.Struct, frozen=True):
    """What ``raycompat probe --format json`` writes, as far as it is looked at."""

    pairs: tuple[_Pair, ...]


def read_predictions(paths: Iterable[Path]) -> Predictions:
    """Read files of predictions, or of what ``raycompat probe`` found.

    Raises:
        PredictionError: one cannot be read, or holds something else.
    """
    found = [_read(path) for path in paths]
    return Predictions(
        predictions=tuple(one for file in found for one in file.predictions),
        explanations=tuple(one for file in found for one in file.explanations),
    )


def _read(path: Path) -> Predictions:
    try:
        raw = msgspec.json.decode(path.read_bytes())
        if isinstance(raw, dict) and "pairs" in raw:
            return Predictions(predictions=tuple(_of_probe(msgspec.convert(raw, _Probed))))
        found = msgspec.convert(raw, Predictions)
    except OSError as error:
        raise PredictionError(f"--predictions: {path}: {error.strerror}") from error
    except UNREADABLE as error:
        raise PredictionError(f"--predictions: {path}: not a file of predictions: {error}") from error
    for number, one in enumerate(found.explanations):
        for name, specifier in (("ray", one.ray), ("vllm", one.vllm)):
            if specifier is not None:
                try:
                    parse_specifier(specifier)
                except ValueError as error:
                    raise PredictionError(f"--predictions: {path}: explanations[{number}].{name}: {error}") from error
    return found


def _of_probe(probed: _Probed) -> Iterator[Prediction]:
    for pair in probed.pairs:
        ray, vllm = (label.partition(" ")[2] or label for label in (pair.ray, pair.vllm))
        for flow in pair.result.flows if pair.result is not None else ():
            reason = next((one.message for one in flow.findings if one.status == flow.status), "")
            yield Prediction(ray=ray, vllm=vllm, flow=flow.flow, said=flow.status, why=reason)


def score(prediction: Prediction | None, verdict: Verdict) -> Score:
    """Say whether what was said came true."""
    if prediction is None or prediction.said in UNTOLD or verdict not in WORKS | FAILS:
        return "not scored"
    breaks = prediction.said == "breaks"
    if verdict in FAILS:
        return "hit" if breaks else "miss"
    return "false alarm" if breaks else "hit"


def tally(scores: Iterable[tuple[Status, Score]]) -> list[tuple[str, int, int, int]]:
    """Count for each thing that may be said how often it was a hit, a miss and a false alarm."""
    found = list(scores)
    said_of: tuple[Status, ...] = ("no obstacle found", "guarded", "breaks")
    return [
        (said, found.count((said, "hit")), found.count((said, "miss")), found.count((said, "false alarm")))
        for said in said_of
    ]


def _among(few: Mapping[str, Any], many: Mapping[str, Any]) -> bool:
    return all(name in many and many[name] == value for name, value in few.items())
