"""Writes tables as Parquet files, with DuckDB. Importing this needs ``pip install
'holdfast[parquet]'``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import msgspec

from holdfast.values.errors import Outside

_COPY = """COPY (SELECT * FROM read_json(?, format='newline_delimited', columns={shape},
maximum_object_size=1073741824)) TO '{draft}' (FORMAT parquet, COMPRESSION zstd)"""
_TYPES = {"TEXT": "VARCHAR", "INTEGER": "BIGINT", "REAL": "DOUBLE"}


def write_parquet(
    directory: Path,
    tables: Mapping[str, Mapping[str, str]],
    rows: Mapping[str, Sequence[Sequence[Any]]],
) -> None:
    """Write one file ``TABLE.parquet`` for each table (types by column) into a directory, which is
    made if it is new. Files of these names are replaced, each at once when it is whole. `Outside`
    if the disk refuses."""
    encoder = msgspec.json.Encoder()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (
            TemporaryDirectory(prefix=".parquet-", dir=directory) as place,
            duckdb.connect(config=_ALONE) as conn,
        ):
            for name, columns in tables.items():
                lines, draft = Path(place) / "rows.json", Path(place) / f"{name}.parquet"
                keys = list(columns)
                with lines.open("wb") as file:
                    for row in rows[name]:
                        file.write(encoder.encode(dict(zip(keys, row, strict=True))) + b"\n")
                shape = {column: _TYPES[kind] for column, kind in columns.items()}
                conn.execute(_COPY.format(shape=shape, draft=_quoted(draft)), [str(lines)])
                draft.replace(directory / f"{name}.parquet")
    except (OSError, duckdb.Error) as error:
        text = getattr(error, "strerror", "") or str(error).split("\n", 1)[0]
        raise Outside(f"{directory}: cannot be written: {text}") from None


_ALONE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
