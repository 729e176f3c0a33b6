"""The plugin's own hooks. Implement them in a ``conftest.py`` or a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_raycompat.judgement import Judgement
    from pytest_raycompat.records import FlowResult


@pytest.hookspec
def pytest_raycompat_flow_finished(config: pytest.Config, result: FlowResult) -> None:
    """Look at what a flow gave, once for each time that one ran; a control is a flow too.

    Example::

        def pytest_raycompat_flow_finished(config, result):
            metrics.gauge("engine_start_seconds", result.timings["start"], tags=[result.flow])

    .. versionadded:: 0.1
    """


@pytest.hookspec(firstresult=True)
def pytest_raycompat_verdict(item: pytest.Item, judgement: Judgement) -> Judgement | None:
    """Replace the verdict on a test; None leaves it as it is.

    Example::

        def pytest_raycompat_verdict(item, judgement):
            if judgement.verdict == "timed-out" and item.get_closest_marker("slow_host"):
                return Judgement("infra", "the host is too slow for this test")

    .. versionadded:: 0.1
    """
