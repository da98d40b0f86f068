"""What lasts longest begins first, so that no process is left with a long file at the end (loadfile, in this order).

Three processes share the cores, so the libraries of each compute with one thread, as they do in a sandbox.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
FIRST = ("integration", "demo", "federated", "models", "portal", "features", "enclave", "api")
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy is loaded


def _rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(ROOT).parts[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)  # stable: within a folder the order stays
