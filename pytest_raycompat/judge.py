"""Judges what ran in a session by its known gaps: which apply there, and whether they excuse anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_raycompat.gaps import Gap
from pytest_raycompat.gaps.matching import Capability
from pytest_raycompat.judgement import Judgement, is_expected, judge_finding, judge_flow, judge_marked
from pytest_raycompat.recorded import Run, applicable, marked_applicable
from pytest_raycompat.records import Environment, FlowResult, GapsMode


@dataclass(frozen=True)
class Judge:
    """What a verdict depends on, beside what ran.

    Args:
        gaps: the known gaps.
        environment: the environment under test.
        device: what flows run on.
        nodes: tells how many nodes the cluster has, or will have; 0 without one.
        capability: tells what the Ray under test has.
        mode: what is done about tests for which a gap applies.
    """

    gaps: tuple[Gap, ...]
    environment: Environment
    device: Literal["cpu", "cuda"]
    nodes: Callable[[], int]
    capability: Capability
    mode: GapsMode = "run"

    def applicable(self, run: Run, marked: Collection[str] = ()) -> list[Gap]:
        """List the gaps that are recorded for a run."""
        return applicable(self.gaps, run, self.environment, marked, self.capability)

    def expects(self, result: FlowResult) -> bool:
        """Whether a gap is the reason why a run failed, or one is recorded that should have been."""
        return result.failure is not None and is_expected(self.applicable(result), result.failure)

    def flow(self, result: FlowResult, marked: Collection[str] = ()) -> Judgement:
        """Judge one run of a flow, in a test that is marked with the ids ``marked``."""
        return judge_flow(
            result, self.gaps, self.environment, marked, capability=self.capability, excuse=self.mode != "only"
        )

    def finding(self, error: BaseException, flows: Sequence[FlowResult], marked: Collection[str] = ()) -> Judgement:
        """Judge a test that found wrong what its flows gave."""
        return judge_finding(
            error,
            flows,
            self.gaps,
            self.environment,
            marked,
            capability=self.capability,
            excuse=self.mode != "only",
        )

    def marked(self, error: BaseException | None, marked: Collection[str], parameters: dict[str, Any]) -> Judgement:
        """Judge a test that ran no flow."""
        return judge_marked(
            error,
            marked,
            self.gaps,
            self.environment,
            self.device,
            parameters,
            nodes=self.nodes() if marked else 0,
            capability=self.capability,
            excuse=self.mode != "only",
        )

    def choose_flow(self, run: Run, marked: Collection[str] = ()) -> Judgement | None:
        """Judge a flow that is not to be run; None where it is to be."""
        return None if self.mode == "run" else self._choose(self.applicable(run, marked))

    def choose_marked(
        self, marked: Collection[str], parameters: dict[str, Any], *, runs_flows: bool
    ) -> Judgement | None:
        """Judge a test that is not to be run; None where it is to be, or where its flows will tell."""
        if self.mode == "run" or (self.mode == "only" and runs_flows):
            return None
        recorded = marked_applicable(
            marked,
            self.gaps,
            self.environment,
            self.device,
            parameters,
            nodes=self.nodes() if marked else 0,
            capability=self.capability,
        )[0]
        return self._choose(recorded)

    def _choose(self, recorded: list[Gap]) -> Judgement | None:
        if self.mode == "skip" and recorded:
            gap = recorded[0]
            return Judgement("untested", f"--raycompat-gaps-mode=skip: known gap {gap.id}: {gap.title}", gap.id)
        if self.mode == "only" and not recorded:
            return Judgement("untested", "--raycompat-gaps-mode=only: no known gap applies")
        return None
