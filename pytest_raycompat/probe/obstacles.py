"""What Python would raise about something missing, and which handlers catch it."""

from __future__ import annotations

from pytest_raycompat.probe.findings import Finding
from pytest_raycompat.probe.outline import Handler

_CATCHES = {
    "ModuleNotFoundError": {"ModuleNotFoundError", "ImportError"},
    "ImportError": {"ImportError"},
    "AttributeError": {"AttributeError"},
    "TypeError": {"TypeError"},
}
_CATCH_ALL = {"Exception", "BaseException"}


class Obstacle(Exception):
    """What Python would raise."""

    def __init__(self, finding: Finding, exception: str) -> None:
        super().__init__(finding.message)
        self.finding = finding
        self.exception = exception


def fitting(handlers: tuple[Handler, ...], exception: str) -> Handler | None:
    """Choose the handler that catches an exception."""
    for handler in handlers:
        if not handler.types or _CATCH_ALL.intersection(handler.types):
            return handler
        if _CATCHES.get(exception, {exception}).intersection(handler.types):
            return handler
    return None
