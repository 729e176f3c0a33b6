"""Known gaps: what is recorded not to work, where, how it shows, and what to do about it."""

from __future__ import annotations

from pytest_raycompat.gaps.loading import BUILTIN_FOLDER as BUILTIN_FOLDER
from pytest_raycompat.gaps.loading import builtin_gaps as builtin_gaps
from pytest_raycompat.gaps.loading import known_gaps as known_gaps
from pytest_raycompat.gaps.loading import load_gap_file as load_gap_file
from pytest_raycompat.gaps.loading import load_gaps as load_gaps
from pytest_raycompat.gaps.matching import applies as applies
from pytest_raycompat.gaps.matching import compare as compare
from pytest_raycompat.gaps.matching import message_agrees as message_agrees
from pytest_raycompat.gaps.matching import mismatches as mismatches
from pytest_raycompat.gaps.matching import nearest as nearest
from pytest_raycompat.gaps.schema import Conditions as Conditions
from pytest_raycompat.gaps.schema import Gap as Gap
from pytest_raycompat.gaps.schema import GapFileError as GapFileError
from pytest_raycompat.gaps.schema import Pair as Pair
from pytest_raycompat.gaps.schema import Workaround as Workaround
