"""``holdfast sql``."""

from __future__ import annotations

import asyncio
import csv
import sys

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits


@click.command()
@click.argument("statement", required=False, default="", metavar="SELECT")
@click.option("--schema", is_flag=True, help="Print tables and columns instead.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--limit", type=click.IntRange(0), default=limits.QUERY_MAX_ROWS, metavar="N",
              help="How many rows; 0: all.", show_default=True)  # fmt: skip
@shared
def command(*, statement: str, schema: bool, as_csv: bool, limit: int, desk: Desk) -> None:
    """Ask the journal in SQL, reading only.

    The tables (runs, steps, events, verdicts, rules, facts, usage, questions, findings, worlds)
    are folded from the events in memory. With --json: one array of objects. docs/sql.md has more.

    \b
    Examples:
      holdfast sql "SELECT agent, count(*), sum(money) FROM runs GROUP BY agent"
      holdfast sql "SELECT * FROM steps WHERE status = 'error'" --csv
      holdfast sql --schema
    """
    from holdfast.values.errors import Misuse

    if schema:
        _schema(desk)
        return
    if not statement.strip():
        raise Misuse("say a SELECT, or --schema")
    if as_csv and desk.screen.json:
        raise Misuse("say --csv or --json")
    asyncio.run(_sql(desk, statement, as_csv, limit))


async def _sql(desk: Desk, statement: str, as_csv: bool, limit: int) -> None:
    from holdfast.explain.text import clean
    from holdfast.runtime.querying import query

    screen = desk.screen
    async with desk.store() as store:
        found = await query(store, statement, limit)
    if screen.json:
        shown = [{name: _plain(one) for name, one in zip(found.columns, row, strict=True)}
                 for row in found.rows]  # fmt: skip
        screen.document(shown)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([clean(name) for name in found.columns])
        writer.writerows([[_cell(one) for one in row] for row in found.rows])
        sys.stdout.flush()
    else:
        screen.table(found.columns, ([_cell(one) for one in row] for row in found.rows))
    if found.more:
        screen.note((f"more than {limit:,} rows: --limit 0 shows all", "dim"))


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _cell(value: object) -> str:
    from holdfast.explain.text import clean

    return "" if value is None else clean(str(_plain(value)))


def _schema(desk: Desk) -> None:
    from holdfast.explain.tables import TABLES

    if desk.screen.json:
        desk.screen.document([
            {"table": table, "column": name, "type": kind, "meaning": meaning}
            for table, columns in TABLES.items()
            for name, (kind, meaning) in columns.items()
        ])  # fmt: skip
        return
    desk.screen.table(["TABLE", "COLUMN", "TYPE", "MEANING"], [
        [table, name, kind, meaning]
        for table, columns in TABLES.items()
        for name, (kind, meaning) in columns.items()
    ])  # fmt: skip
