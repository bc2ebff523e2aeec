"""What every test stands on: Hypothesis profiles, a clean machine, the replay-always switch."""

from __future__ import annotations

import importlib.util
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

# ---- nothing of this machine or person may matter --------------------------------------------

for _name in [name for name in os.environ if name.startswith(("GIT_", "HOLDFAST_"))]:
    if _name != "HOLDFAST_EXAMPLES" and not _name.startswith("HOLDFAST_TEST_"):
        del os.environ[
            _name
        ]  # a git hook's GIT_DIR, a person's GIT_AUTHOR_NAME, a shell's settings
os.environ["GIT_CONFIG_GLOBAL"] = os.devnull  # tests that commit name their author themselves
os.environ["GIT_CONFIG_SYSTEM"] = os.devnull
os.environ["GIT_TERMINAL_PROMPT"] = "0"
_state = tempfile.TemporaryDirectory(prefix="holdfast-state-")
os.environ["XDG_STATE_HOME"] = _state.name  # never a person's own; it ends with this process

# ---- Hypothesis ------------------------------------------------------------------------------
# dev (the default) keeps failing examples in .hypothesis; ci draws a seed, which the header shows,
# so that a failure elsewhere can be repeated here; fuzz is `make fuzz`.

_COMMON: dict[str, Any] = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("dev", max_examples=50, **_COMMON)
settings.register_profile("ci", max_examples=100, database=None, **_COMMON)
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("HOLDFAST_EXAMPLES", "2000")),
    phases=list(Phase),
    **_COMMON,
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
settings.load_profile(PROFILE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--replay-always",
        action="store_true",
        dest="holdfast_replay_always",
        help="suspend and replay every run at every step",
    )


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads the seed, and before workers start
def pytest_configure(config: pytest.Config) -> None:
    _check_source(config.rootpath)
    if config.getoption("holdfast_replay_always"):
        os.environ["HOLDFAST_TEST_REPLAY"] = "1"
    if PROFILE != "dev" and config.getoption("hypothesis_seed") is None:
        config.option.hypothesis_seed = str(random.SystemRandom().getrandbits(32))


def _check_source(root: Path) -> None:
    """An environment that was copied with its folder still points at the old one: say so."""
    spec = importlib.util.find_spec("holdfast")
    found = [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]
    if found != [root / "src" / "holdfast"]:
        where = ", ".join(map(str, found)) or "nowhere"
        raise pytest.UsageError(f"holdfast comes from {where}, not from {root}: run `make clean`")


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption("hypothesis_seed")
    repeat = f"HYPOTHESIS_PROFILE={PROFILE} make test ARGS=--hypothesis-seed={seed}"
    again = "" if seed is None else f", seed {seed} (again: {repeat})"
    replay = ", replaying always" if os.environ.get("HOLDFAST_TEST_REPLAY") else ""
    return f"holdfast: hypothesis profile {PROFILE}{again}{replay}"


# ---- fixtures --------------------------------------------------------------------------------


@pytest.fixture
def clean_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HOME and an empty working directory (which is returned), as on a new machine."""
    home, work = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    work.mkdir()
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def replay_always(request: pytest.FixtureRequest) -> bool:
    """Whether ``--replay-always`` was given."""
    return bool(request.config.getoption("holdfast_replay_always"))
