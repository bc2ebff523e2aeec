"""Commands in a directory: a clean environment, a time limit, output cut honestly.

This form does not isolate: a command can reach whatever this process can. The sandbox slots in
here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic.dataclasses import dataclass

from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound
from holdfast.values.ports import SystemClock

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT")


@dataclass(frozen=True)
class Result:
    """How a command ended. ``exit``: its code, negative for a signal; ``timed_out``: it was killed
    at its time limit; ``cut``: bytes of output that were dropped from the middle; ``seconds``: wall
    time."""

    exit: int
    stdout: str
    stderr: str
    timed_out: bool = False
    cut: int = 0
    seconds: float = 0.0


async def execute(
    command: Sequence[str], directory: Path, seconds: float, environment: Mapping[str, str]
) -> Result:
    """Run ``command`` in ``directory``; on time-out or cancellation its whole process group
    dies."""
    if isinstance(command, str) or not command:
        raise Misuse("world.run: give the command as a list of words, such as ['pytest', '-q']")
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env |= {"HOME": str(directory), **environment}
    clock = SystemClock()
    start = clock.ticks_ns()
    try:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, env=env, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError:
        raise NotFound(f"world.run: command {command[0]!r} is not found") from None
    except (OSError, ValueError) as error:
        raise Misuse(f"world.run: {command[0]!r} cannot be started: {error}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [asyncio.create_task(_keep(pipe)) for pipe in (process.stdout, process.stderr)]
    timed_out = False
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        timed_out = True
    finally:
        _kill(process.pid)  # also what it left behind
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        outputs = await asyncio.gather(*readers)
    (out, cut_out), (err, cut_err) = outputs
    return Result(
        process.returncode if process.returncode is not None else -1,
        out, err, timed_out, cut_out + cut_err, round((clock.ticks_ns() - start) / 1e9, 3),
    )  # fmt: skip


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


async def _keep(pipe: asyncio.StreamReader) -> tuple[str, int]:
    """Head and tail of a stream, within the limit, and how many bytes were dropped between."""
    half = limits.COMMAND_OUTPUT_BYTES // 2
    head, tail, dropped = bytearray(), bytearray(), 0
    while piece := await pipe.read(65536):
        room = half - len(head)
        head += piece[:room]
        tail += piece[room:] if room < len(piece) else b""
        if len(tail) > half:
            dropped += len(tail) - half
            del tail[: len(tail) - half]
    middle = f"\n... {dropped:,} bytes dropped ...\n" if dropped else ""
    return head.decode(errors="replace") + middle + tail.decode(errors="replace"), dropped
