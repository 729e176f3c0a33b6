"""PEP 440 specifiers against the versions that people run: releases, forks (``2.35.0+corp.3``), nightlies."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import InvalidVersion, Version

_OPERATORS = ("==", "!=", "~=", "<=", ">=", "<", ">", "===")


def parse_specifier(text: str) -> SpecifierSet:
    """Read a version specifier such as ``>=2.44.1,<3``.

    Raises:
        ValueError: ``text`` is not a specifier, is empty or is not text; the message says what would be right.
    """
    if not isinstance(text, str):  # markers pass on what a test's author wrote
        raise ValueError(
            f"{text!r} is not a version specifier but {type(text).__name__}; write text such as '>=2.44.1'"
        )
    return _parsed(text)


@functools.lru_cache(maxsize=512)  # gaps and markers ask for the same few again and again
def _parsed(text: str) -> SpecifierSet:
    if not text.strip():
        raise ValueError("an empty version specifier would match every version; write one such as '>=2.44.1'")
    clauses = [clause.strip() for clause in text.split(",")]
    for clause in clauses:
        subject = repr(text) if len(clauses) == 1 else f"{clause!r} in {text!r}"
        if not clause:
            raise ValueError(f"{text!r} is not a version specifier; remove the comma that separates nothing")
        try:
            Specifier(clause)
        except InvalidSpecifier as error:
            raise ValueError(f"{subject} is not a version specifier; {_advice(clause)}") from error
    return SpecifierSet(text)


def is_version(text: str) -> bool:
    """Tell whether ``text`` is a PEP 440 version, which specifiers can be compared with."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def satisfies(version: str, specifier: str | SpecifierSet) -> bool:
    """Tell whether ``version`` satisfies ``specifier``, as a user of forks and nightlies expects.

    ``2.35.0+corp.3`` counts as 2.35.0, and ``3.0.0.dev0`` and ``3.0.0rc1`` as 3.0.0; ``0.8.5.post1`` stays a post
    release. A clause that itself names a local, pre- or development version (``==2.35.0+corp.3``, ``>=3.0.0.dev0``),
    and ``===``, which compares text, sees the version in full.

    Raises:
        ValueError: ``version`` is not a PEP 440 version, or ``specifier`` is not a specifier.
    """
    if isinstance(specifier, str):
        specifier = parse_specifier(specifier)
    try:
        full = Version(version)
    except InvalidVersion as error:
        raise ValueError(f"{version!r} is not a PEP 440 version") from error
    # base_version is the epoch and the release, without post
    release = Version(full.base_version if full.post is None else f"{full.base_version}.post{full.post}")
    return all(
        clause.contains(full if _compares_in_full(clause) else release, prereleases=True) for clause in specifier
    )


def can_hold(*specifiers: str | SpecifierSet) -> bool:
    """Tell whether some version satisfies all of ``specifiers`` at once.

    Where one does, there is one at, just above or just below a version that a clause names; so those are tried.

    Raises:
        ValueError: one is not a specifier.
    """
    joined = SpecifierSet(",".join(str(parse_specifier(one) if isinstance(one, str) else one) for one in specifiers))
    if len(joined) == 1:
        return True
    return any(satisfies(version, joined) for clause in joined for version in _around(clause))


def _around(clause: Specifier) -> Iterator[str]:
    if clause.operator == "===":
        if is_version(clause.version):
            yield clause.version
        return
    named = Version(clause.version.removesuffix(".*"))
    release = named.release
    yield str(named)
    for lowered in range(len(release) - 1, -1, -1):  # just below: 2.43 gives 2.42.99999, 3.0 gives 2.99999
        if release[lowered]:
            yield _text(named.epoch, (*release[:lowered], release[lowered] - 1, 99999))
            break
    yield _text(named.epoch, (*release, 0, 0, 1))
    yield _text(named.epoch, (*release[:-1], release[-1] + 1))
    if named.post is not None:
        yield f"{_text(named.epoch, release)}.post{named.post + 1}"


def _text(epoch: int, release: tuple[int, ...]) -> str:
    return f"{epoch}!{'.'.join(map(str, release))}"


def _compares_in_full(clause: Specifier) -> bool:
    if clause.operator == "===":
        return True
    named = Version(clause.version.removesuffix(".*"))
    return named.local is not None or named.is_prerelease  # is_prerelease covers dev


def _advice(clause: str) -> str:
    """Say what to write instead of ``clause``, which packaging refused."""
    text = re.sub(r"^[^\w\s.*]*\s*", "", clause)
    operator = clause.removesuffix(text).strip()
    if re.search(r"\s[=!~<>]", text):
        return "separate clauses with commas, as in '>=2.44.1,<3'"
    wildcard = text.endswith(".*")
    try:
        version = Version(text.removesuffix(".*"))
    except InvalidVersion:
        return "write an operator and a version, such as '>=2.44.1'"
    if wildcard:
        return (
            f"'.*' goes with '==' or '!=' and plain numbers: write '=={version.base_version}.*' or '>={version.public}'"
        )
    if operator == "":
        return f"write '>={version.public}', '=={version}' or '>={version.public},<{version.major + 1}'"
    if operator not in _OPERATORS:
        return f"{operator!r} is not one of {', '.join(_OPERATORS)}: write '>={version.public}' or '=={version}'"
    if version.local is not None:
        return f"a local version goes with '==' and '!=' only: write '{operator}{version.public}' or '=={version}'"
    return f"'~=' needs two numbers or more: write '~={version.major}.0' or '>={version.public}'"
