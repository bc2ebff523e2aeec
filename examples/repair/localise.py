"""Find suspicious lines from the coverage of failing and passing tests (Ochiai's measure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from examples.repair.suite import Report

Place = tuple[str, int]
Coverage = Mapping[str, tuple[bool, frozenset[Place]]]
"""{test id: (whether it passed, the lines of the library that it ran)}."""

FAILING_TRACED = 12
"""Failing tests that are traced: more add little, and a traced test is slow."""

PASSING_TRACED = 60
"""Passing tests that are traced to exonerate the lines they share."""

IMPORT_SCORE = 0.05
"""Suspicion of a line that only runs at import: below any line that a failing test runs itself."""


@dataclass(frozen=True, slots=True, order=True)
class Suspect:
    """A line and how suspicious it is, from 0 to 1."""

    path: str
    line: int
    score: float


def rank(coverage: Coverage) -> list[Suspect]:
    """The lines that failing tests ran, most suspicious first; ties by file and line.

    Ochiai: failing tests that ran the line, over the root of (all failing tests times all tests
    that ran the line).
    """
    failed: dict[Place, int] = {}
    passed: dict[Place, int] = {}
    failures = sum(not good for good, _ in coverage.values())
    for good, places in coverage.values():
        counts = passed if good else failed
        for place in places:
            counts[place] = counts.get(place, 0) + 1
    suspects = [
        Suspect(path, line, hit / sqrt(failures * (hit + passed.get((path, line), 0))))
        for (path, line), hit in failed.items()
    ]
    return sorted(suspects, key=lambda suspect: (-suspect.score, suspect.path, suspect.line))


def choose_tests(
    report: Report, failing: int = FAILING_TRACED, passing: int = PASSING_TRACED
) -> tuple[str, ...]:
    """Which tests to trace: failing ones, and a sample of the passing ones of the same files.

    Where a file cannot be imported there is nothing to choose: all of it is traced (no tests).
    """
    if report.broken:
        return tuple(report.broken[:1])
    failed = _sample(report.failing, failing)
    files = {test.split("::")[0] for test in failed}
    near = [test for test in report.passing if test.split("::")[0] in files]
    return (*failed, *_sample(near or report.passing, passing))


def _sample(tests: Sequence[str], most: int) -> tuple[str, ...]:
    """At most so many, spread evenly: neighbours test the same thing."""
    if len(tests) <= most:
        return tuple(tests)
    return tuple(tests[index * len(tests) // most] for index in range(most))


def suspects(traced: Report) -> list[Suspect]:
    """Suspicious lines from a traced run.

    Lines that only ran at import come last, those of files that failing tests use first of all;
    when the import itself is broken they are all there is, and the last lines that ran before
    the break are the most suspicious.
    """
    coverage = {
        test: (traced.outcomes.get(test) == "passed", places)
        for test, places in traced.lines.items()
        if test and traced.outcomes.get(test) != "skipped"
    }
    ranked = rank(coverage)
    known = {(suspect.path, suspect.line) for suspect in ranked}
    used = {suspect.path for suspect in ranked}
    imported = traced.lines.get("", frozenset()) - known
    if traced.broken:
        return ranked + [Suspect(path, line, 1.0) for path, line in sorted(imported, reverse=True)]
    near = sorted(place for place in imported if place[0] in used)
    return ranked + [Suspect(path, line, IMPORT_SCORE) for path, line in near]
