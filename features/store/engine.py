"""One way to open DuckDB: bounded memory, bounded threads, no extension fetched from anywhere.

Owns the settings. Never keeps a connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

THREADS = 2
MEMORY = "3GB"


def connect(
    database: Path | str = ":memory:",
    *,
    read_only: bool = False,
    threads: int = THREADS,
    memory: str = MEMORY,
    spill: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection of its own. `spill`: folder for what does not fit into memory."""
    config: dict[str, str | int | bool] = {
        "threads": threads,
        "memory_limit": memory,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        # results are sets here; keeping the order of input costs memory
        "preserve_insertion_order": False,
    }
    if spill is not None:
        config["temp_directory"] = str(spill)
    db = duckdb.connect(str(database), read_only=read_only, config=config)
    db.execute("SET enable_progress_bar = false")
    return db


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def parquet(paths: Iterable[Path], *, union: bool = False) -> str:
    """The table function that reads these files; `union` where their columns differ."""
    listed = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{listed}]{', union_by_name = true' if union else ''}, hive_partitioning = false)"
