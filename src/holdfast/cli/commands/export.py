"""``holdfast export``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits

FORMS = ("archive", "jsonl", "parquet", "otlp")


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN]... [FILE]")
@click.option("--as", "form", type=click.Choice(FORMS), default="archive", show_default=True,
              help="What to write: see above.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="All runs of the store.")
@click.option("--since", default="", metavar="TIME",
              help="All runs that began since: 7d, 12h, 2026-01-31.")  # fmt: skip
@click.option("--content/--no-content", default=None,
              help="Whether what was said, asked with and answered is in it "
                   "(jsonl: by default; otlp: not by default).")  # fmt: skip
@click.option("--value-chars", type=click.IntRange(0), default=0, metavar="N",
              help="jsonl: cut payloads that are longer; 0: never.")  # fmt: skip
@click.option("--endpoint", default="", metavar="URL",
              help="otlp: where to (or OTEL_EXPORTER_OTLP_ENDPOINT).")  # fmt: skip
@click.option("--openinference", is_flag=True, help="otlp: the keys of OpenInference too.")
@click.option("--why", is_flag=True,
              help="otlp: link effects to what their arguments carry (slower).")  # fmt: skip
@click.option("--follow", "-f", "live", is_flag=True,
              help="otlp: go on as events are committed; alone, only new ones.")  # fmt: skip
@shared
def command(
    names: tuple[str, ...], *, form: str, everything: bool, since: str, content: bool | None,
    value_chars: int, endpoint: str, openinference: bool, why: bool, live: bool,
    desk: Desk,
) -> int:  # fmt: skip
    """Write runs into one file.

    \b
    archive  FILE (new) for `holdfast import`: also the runs that they fork from and that they
             spawned; every event is proven on the way
    jsonl    FILE or -: one event a line, with payloads whole
    parquet  DIRECTORY: the tables of `holdfast sql`, a file each
    otlp     no FILE: spans to an OpenTelemetry endpoint; headers by OTEL_EXPORTER_OTLP_HEADERS

    \b
    Examples:
      holdfast export 7k3 9qg two-runs.holdfast
      holdfast export --all backup.holdfast
      holdfast export --since 7d --as jsonl -
      holdfast export --all --as parquet tables
      holdfast export 7k3 --as otlp --endpoint http://127.0.0.1:4318/v1/traces
    """
    from holdfast.values.errors import Misuse

    only = {
        "jsonl": value_chars, "otlp": endpoint or openinference or why or live,
        "jsonl or otlp": content is not None,
    }  # fmt: skip
    for wanted, said in only.items():
        if said and form not in wanted.split(" or "):
            raise Misuse(f"--as {form}: this option is for --as {wanted} only")
    runs, file = (list(names), "") if form == "otlp" else (list(names[:-1]), (names or ("",))[-1])
    chosen = everything or bool(since) or live
    if bool(runs) == chosen or not (file or form == "otlp"):
        place = {"otlp": "", "parquet": " DIRECTORY"}.get(form, " FILE")
        raise Misuse(f"say RUN...{place}, or --all{place}")
    try:
        if form == "otlp":
            look = {"content": bool(content), "openinference": openinference, "why": why}
            asyncio.run(_otlp(desk, runs, since, endpoint, look, everything=everything, live=live))
        else:
            writer = {"archive": _archive, "jsonl": _jsonl, "parquet": _parquet}[form]
            options = {"content": content is not False, "chars": value_chars}
            asyncio.run(_export(desk, runs, since, file, writer, options))
    except KeyboardInterrupt:
        if not live:
            raise
        return 130
    return 0


async def _export(
    desk: Desk, names: Sequence[str], since: str, file: str, writer: Any, options: dict[str, Any]
) -> None:
    async with desk.store() as store:
        runs = await _runs(desk, store, names, since)
        desk.screen.live(f"writing {file}")
        told, text = await writer(store, runs, file, options)
    desk.screen.erase()
    if file == "-":
        return
    if desk.screen.json:
        desk.screen.document({**told, "file": file})
    else:
        desk.screen.say(f"wrote {text} to {file}")


async def _runs(desk: Desk, store: Any, names: Sequence[str], since: str) -> list[str] | None:
    """Ids of the runs that are meant; None: all."""
    from holdfast.cli.since import since_ms
    from holdfast.journal.store import RunQuery
    from holdfast.runtime.refs import find_run

    if names:
        return [(await find_run(store, name)).run for name in names]
    if not since:
        return None
    after, before = since_ms(since, desk.now_ms()), 0
    found: list[str] = []
    while page := await store.runs(RunQuery(limits.READ_PAGE_ROWS, before)):
        found += [row.run for row in page if row.started >= after]
        before = page[-1].number
    return found[::-1]


async def _archive(
    store: Any, runs: list[str] | None, file: str, _: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    import msgspec

    from holdfast.runtime.maintenance import export_runs
    from holdfast.values.errors import Misuse

    if runs is not None and not runs:
        raise Misuse("no run began since then")
    moved = await export_runs(store, runs, file)
    text = f"{moved.runs} runs, {moved.events} events, {moved.blobs} blobs"
    return msgspec.structs.asdict(moved), text


async def _jsonl(
    store: Any, runs: list[str] | None, file: str, options: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    from holdfast.explain.past import Recall, event_document
    from holdfast.explain.text import json_text

    recall, wanted, count = Recall(store), None if runs is None else set(runs), 0
    with _writing(file) as out:
        async for event in _events(store):
            if wanted is not None and event.run not in wanted:
                continue
            args = await recall.args(event) if options["content"] else None
            document = event_document(event, args, store.get)
            for name in ("args", "value"):
                if not options["content"]:
                    del document[name]
                elif options["chars"]:
                    document[name] = _bounded(document[name], options["chars"])
            out.write(json_text(document) + "\n")
            count += 1
    return {"events": count}, f"{count} events"


def _bounded(value: Any, most: int) -> Any:
    """A payload, or the beginning of its JSON if that is longer."""
    from holdfast.explain.text import json_text

    text = json_text(value)
    return value if len(text) <= most else {"cut": text[:most], "chars": len(text)}


async def _events(store: Any) -> AsyncIterator[Any]:
    after, last = 0, await store.last_seq()
    while page := await store.tail(after, min(limits.READ_PAGE_EVENTS, last - after)):
        for event in page:
            yield event
        after = page[-1].seq


@contextmanager
def _writing(file: str) -> Any:
    """Standard output, or a new file that is whole when it has its name."""
    from holdfast.values.errors import Misuse, Outside

    if file == "-":
        yield sys.stdout
        return
    path = Path(file)
    if path.exists():
        raise Misuse(f"{file}: exists; name a new file")
    draft = path.with_name(f".{path.name}.part")
    out: IO[str]
    try:
        with draft.open("w", encoding="utf-8") as out:
            yield out
        draft.rename(path)
    except OSError as error:
        raise Outside(f"{file}: cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


async def _parquet(
    store: Any, runs: list[str] | None, file: str, _: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    from holdfast.runtime.querying import TYPES, tables_of
    from holdfast.values.errors import Misuse

    try:
        from holdfast.adapters.parquet import write_parquet
    except ImportError:
        raise Misuse("--as parquet wants: pip install 'holdfast[parquet]'") from None
    rows = await tables_of(store, None if runs is None else frozenset(runs))
    write_parquet(Path(file), TYPES, rows)
    counts = {name: len(found) for name, found in rows.items()}
    return {"tables": counts}, f"{len(counts)} tables of {counts['runs']} runs"


# OpenTelemetry ---------------------------------------------------------------------------------


async def _otlp(
    desk: Desk, names: list[str], since: str, endpoint: str, look: dict[str, bool], *,
    everything: bool, live: bool,
) -> None:  # fmt: skip
    from holdfast.explain.carried import carried
    from holdfast.explain.conventions import SCHEMA
    from holdfast.explain.spans import Look
    from holdfast.explain.traces import Traces
    from holdfast.journal.store import RunQuery
    from holdfast.values.errors import Misuse

    try:
        from holdfast.adapters.otlp import Exporter
    except ImportError:
        raise Misuse("--as otlp wants: pip install 'holdfast[otlp]'") from None
    exporter, count = Exporter(endpoint, schema=SCHEMA), 0
    try:
        async with desk.store() as store:
            edges = carried(store.get) if look["why"] else None
            traces = Traces(store, Look(store.get, look["content"], look["openinference"], edges))
            last = await store.last_seq()
            runs = await _runs(desk, store, names, since) if since or names else []
            if everything and not since:
                rows = await store.runs(RunQuery(limit=1_000_000))
                runs = [row.run for row in reversed(rows)]
            for run in runs or ():
                spans = await traces.run(run)
                await asyncio.to_thread(exporter.send, spans)
                count += len(spans)
                desk.screen.live(f"sent {count:,} spans")
            if live:
                await _live(desk, store, traces, exporter, last)
    finally:
        exporter.close()
    desk.screen.erase()
    if exporter.rejected:
        desk.screen.note(
            (f"the endpoint rejected {exporter.rejected} spans: {exporter.why}", "yellow")
        )
    if desk.screen.json:
        desk.screen.document({"spans": count, "rejected": exporter.rejected})
    else:
        desk.screen.say(f"sent {count} spans of {len(runs or ())} runs")


async def _live(desk: Desk, store: Any, traces: Any, exporter: Any, after: int) -> None:
    """Send what events end as they are committed; what an endpoint does not take is tried again
    with what comes next."""
    from holdfast.runtime.following import follow
    from holdfast.values.errors import Outside

    count, left = 0, []
    async for events in follow(store, after):
        for event in events:
            left += await traces.take(event)
        try:
            await asyncio.to_thread(exporter.send, left)
        except Outside as error:
            desk.screen.note((str(error), "yellow"))
            left = left[-limits.READ_PAGE_EVENTS :]
            continue
        count += len(left)
        left = []
        desk.screen.live(f"sent {count:,} spans")
