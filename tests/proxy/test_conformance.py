"""The official conformance suite, in front of the proxy and without it: nothing gets worse."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.packages import NODE
from tests.proxy.support import HERE, REFERENCE

VERSIONS = ("2025-11-25", "2026-07-28")
FEWER = {
    # we answer with one message where that is all there is: the check for streams does not apply
    "server-sse-multiple-streams",
}
_PASSED = re.compile(r"Passed: \d+/\d+, \d+ failed, \d+ warnings")
_LINE = re.compile(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed", re.MULTILINE)


@contextmanager
def serving(*command: str, log: Path) -> Generator[str]:
    """The address of a server in a process of its own."""
    with (
        log.open("wb") as errors,
        subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=errors,
                         stdin=subprocess.DEVNULL, text=True, cwd=HERE.parents[1]) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening: "), log.read_text()
            yield line.split()[1]
        finally:
            process.terminate()
            process.wait(30)


def begin(suite: str, url: str, version: str, *which: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [NODE, suite, "server", "--url", url, "--spec-version", version, "--timeout", "120000",
         *(which or ("--suite", "all"))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def text_of(done: subprocess.Popen[str]) -> str:
    return done.communicate(timeout=500)[0]


def scores(text: str) -> dict[str, tuple[int, int]]:
    return {one[1]: (int(one[2]), int(one[3])) for one in _LINE.finditer(text)}


def alone_worse(suite: str, direct: str, proxied: str, version: str, name: str) -> bool:
    """Whether a scenario by itself is worse: the suite has time limits of its own, which a busy
    machine does not keep."""
    many = [text_of(begin(suite, url, version, "--scenario", name)) for url in (direct, proxied)]
    without, through = [_PASSED.findall(text)[-1:] for text in many]
    return without != through


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_scenario_gets_worse(npm: Any, tmp_path: Path):
    suite = npm("conformance", "dist/index.js")
    reference = serving(REFERENCE, "http", log=tmp_path / "reference.log")
    with reference as direct:
        proxy = ("-m", "tests.proxy.proxied", str(tmp_path / "store"), direct)
        with serving(*proxy, log=tmp_path / "proxy.log") as proxied:
            for version in VERSIONS:
                runs = [begin(suite, url, version) for url in (direct, proxied)]
                alone, through = [scores(text_of(one)) for one in runs]
                assert len(alone) > 30
                assert through.keys() == alone.keys()
                worse = {
                    name: (alone[name], through[name])
                    for name in alone
                    if through[name][1] > alone[name][1]
                    or (through[name][0] < alone[name][0] and name not in FEWER)
                }
                for _ in range(3):
                    again = [n for n in worse if alone_worse(suite, direct, proxied, version, n)]
                    worse = {name: worse[name] for name in again}
                assert not worse, version


OWN = {
    "2025-11-25": {
        "server-initialize", "server-session-lifecycle", "logging-set-level", "ping", "tools-list",
        "dns-rebinding-protection",
    },
    "2026-07-28": {
        "tools-list", "dns-rebinding-protection", "http-header-validation",
        "sep-2164-resource-not-found",
    },
}  # fmt: skip
"""The scenarios that need no tools, prompts or resources of the suite's own."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_our_own_server_conforms(npm: Any, tmp_path: Path):
    suite = npm("conformance", "dist/index.js")
    own = ("-m", "tests.proxy.proxied", str(tmp_path / "store"), "own")
    with serving(*own, log=tmp_path / "own.log") as url:
        for version, names in OWN.items():
            found = scores(text_of(begin(suite, url, version)))
            wrong = {name for name in names if found[name][1] or not found[name][0]}
            for _ in range(3):  # alone, for the suite's own time limits on a busy machine
                many = {name: begin(suite, url, version, "--scenario", name) for name in wrong}
                said = {name: _PASSED.findall(text_of(one)) for name, one in many.items()}
                wrong = {name for name, text in said.items() if ", 0 failed" not in str(text[-1:])}
            assert not wrong, version
