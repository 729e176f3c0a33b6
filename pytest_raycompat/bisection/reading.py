"""What the sources say of a flow on a pair, for a bisect that runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_raycompat.bisection.judging import Reading
from pytest_raycompat.probe.findings import STATUSES, FlowResult
from pytest_raycompat.probe.programs import Program
from pytest_raycompat.probe.session import Session


class SourceReader:
    """Reads pairs with ``raycompat probe``.

    Args:
        session: opens releases, and keeps what was read.
        programs: the flows that are asked about.
    """

    def __init__(self, session: Session, programs: Sequence[Program]) -> None:
        self._session = session
        self._programs = programs

    def read(self, ray: str, vllm: str) -> Reading:
        """Say what was found, of several flows the worst.

        Raises:
            ReleaseError: a release cannot be read.
        """
        session = self._session
        result = session.pair(session.subject("ray", ray), session.subject("vllm", vllm), self._programs)
        return reading_of(max(result.flows, key=lambda flow: STATUSES.index(flow.status)))


def reading_of(flow: FlowResult) -> Reading:
    """Say of a flow what was found, and what it rests on."""
    found = [finding for finding in flow.findings if finding.status == flow.status]
    gaps = tuple(dict.fromkeys(finding.gap for finding in found if finding.gap is not None))
    first = found[0] if found else None
    if first is None:
        return Reading(flow.status)
    return Reading(flow.status, f"{first.message} ({first.used})", first.exception, gaps)
