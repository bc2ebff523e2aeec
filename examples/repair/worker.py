"""The agent's process: `python -m examples.repair.worker FOLDER RUN begin` (or `go-on`).

It stays until the run ends or asks a person something: what waits for a person needs no process.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import holdfast
from examples.repair.agent import repair
from examples.repair.folder import Place

LOOK_SECONDS = 0.05
"""How often it looks whether the run waits for a person."""


async def work(place: Place, begin: bool) -> None:
    """Start the run, or go on with it and with the runs that it spawned."""
    settings = holdfast.Settings(store=str(place.store), user="demo")
    async with holdfast.Runtime(settings, serve=not begin) as runtime:
        if begin:
            order = json.loads(place.order.read_text())
            handle = await runtime.launch(repair, kwargs=order, name=place.run, world=place.library)
        else:
            handle = await runtime.resume(place.run)
        ended = asyncio.ensure_future(handle.result())
        while not ended.done():
            row = await runtime.store.run(place.run)
            if any(wait.kind == "person" and not wait.ready for wait in row.waits):
                break
            await asyncio.wait((ended,), timeout=LOOK_SECONDS)
        if not ended.done():
            ended.cancel()
        with contextlib.suppress(asyncio.CancelledError, holdfast.RunFailed):
            await ended  # how a run ended stands in the journal; anything else is ours to report


def main(arguments: list[str]) -> int:
    """Run it; the exit code says whether the run could be executed, not how it ended."""
    folder, run, how = arguments
    try:
        asyncio.run(work(Place(Path(folder), run), how == "begin"))
    except KeyboardInterrupt:
        return 130  # the run was suspended cleanly on the way out
    except holdfast.HoldfastError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
