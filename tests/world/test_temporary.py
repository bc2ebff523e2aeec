"""INVARIANT W62: what killed processes left goes, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from holdfast.world.temporary import Temporary, sweep

PROGRAM = """
import sys, time
from pathlib import Path
from holdfast.world.temporary import Temporary
place = Temporary("t-", Path(sys.argv[1]))
(place.path / "deep").mkdir()
(place.path / "deep" / "file").write_text("x")
(place.path / "deep").chmod(0)
print(place.path, flush=True)
time.sleep(1000)
"""


def test_it_goes_when_it_is_closed(tmp_path: Path):
    place = Temporary("t-", tmp_path)
    assert place.path.parent == tmp_path
    assert sweep("t-", tmp_path) == 0
    place.close()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        left = Path(child.stdout.readline().strip())
        try:
            assert sweep("t-", tmp_path) == 0
        finally:
            child.kill()
    mine = Temporary("t-", tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".owner").write_text("")
    (tmp_path / "t-link").symlink_to(outside)
    (tmp_path / "t-notes").mkdir()
    (tmp_path / "t-notes" / "file").write_text("somebody's")
    (tmp_path / "t-odd").mkdir()
    (tmp_path / "t-odd" / ".owner").symlink_to(outside / ".owner")
    assert left.exists()
    assert sweep("t-", tmp_path) == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {mine.path.name, "outside", "t-link", "t-notes", "t-odd"}
    assert (outside / ".owner").exists()
    mine.close()
    assert sweep("t-", tmp_path / "absent") == 0
