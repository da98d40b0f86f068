"""Where the benchmarks' tables are: the folder in CREDITLAB_DATA, by default `../shared/data` beside the project."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.results import BenchmarkFailed

PROJECT = Path(__file__).resolve().parent.parent


def dataset(name: str) -> Path:
    """The folder of one data set. Raises BenchmarkFailed naming what to set."""
    root = Path(os.environ.get("CREDITLAB_DATA") or PROJECT.parent / "shared" / "data")
    folder = root / name
    if not (folder / "dataset.toml").is_file():
        raise BenchmarkFailed(
            f"data set {name!r} is not in {root}: set CREDITLAB_DATA to the folder that holds it "
            f"(数据集 {name} 不在该文件夹：请将 CREDITLAB_DATA 设为其所在文件夹)"
        )
    return folder
