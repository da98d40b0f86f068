"""One control plane and one pair of nodes for a module, small tables with a marker that must not be found on disk."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.lab import Enterprises, Lab, Node, running_lab

_numbers = itertools.count(1)
# A category value on both sides: wherever it is found outside the owners' own tables, plaintext was left behind.
MARKER = "plaintext-marker-7f3a9c"


def write_tables(folder: Path, bank_ids: list[str], lab_ids: list[str], seed: int = 7) -> Path:
    """A bank's and a lab's table in folders of their own; returns their parent. The label leans on both sides."""
    rng = np.random.default_rng(seed)
    everybody = sorted({*bank_ids, *lab_ids})
    hidden = dict(zip(everybody, rng.normal(size=(len(everybody), 2)), strict=True))
    health = np.array([hidden[one] for one in bank_ids])
    risk = 1 / (1 + np.exp(-(health.sum(axis=1) * 1.2 - 1.2)))
    bank = pd.DataFrame(
        {
            "ent_id": bank_ids,
            "turnover": health[:, 0] + rng.normal(scale=0.6, size=len(bank_ids)),
            "tenure": np.where(rng.random(len(bank_ids)) < 0.1, np.nan, rng.gamma(2, 3, len(bank_ids))),
            "segment": rng.choice([MARKER, "retail", "trade"], len(bank_ids)),
            "bad": (rng.random(len(bank_ids)) < risk).astype(int),
            "split": np.where(rng.random(len(bank_ids)) < 0.3, "test", "train"),
        }
    )
    public = np.array([hidden[one] for one in lab_ids])
    lab = pd.DataFrame(
        {
            "ent_id": lab_ids,
            "arrears": public[:, 1] + rng.normal(scale=0.5, size=len(lab_ids)),
            "headcount": np.where(rng.random(len(lab_ids)) < 0.2, np.nan, rng.poisson(20, len(lab_ids))),
            "sector": rng.choice([MARKER, "food", "steel", "care"], len(lab_ids)),
        }
    )
    contract = (
        'name = "tiny"\ntitle = "tiny"\nid = "ent_id"\n'
        '[bank]\ntable = "bank.parquet"\nlabel = "bad"\nsplit = "split"\ntrain = "train"\ntest = "test"\n'
        'ignore = []\ncategorical = ["segment"]\n'
        '[lab]\ntable = "lab.parquet"\nignore = []\ncategorical = ["sector"]\n'
    )
    for side, table in (("bank", bank), ("lab", lab)):
        (folder / side).mkdir(parents=True)
        (folder / side / "dataset.toml").write_text(contract)
        table.to_parquet(folder / side / f"{side}.parquet")
    return folder


def ids(first: int, last: int) -> list[str]:
    return [f"ent{number:06d}" for number in range(first, last)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 enterprises at the bank, 1,400 at the lab, 1,000 common."""
    return write_tables(tmp_path_factory.mktemp("tables") / "data", ids(0, 1200), ids(200, 1600))


@dataclass
class Pair:
    """A lab's and a bank's running node, and the consents of everybody in their tables."""

    lab: Lab
    people: Enterprises
    bank: str
    nodes: tuple[Node, Node]

    def propose(self, **changes: object) -> str:
        """An approved job of the two; `changes` as of `Lab.propose`."""
        lab, bank = (node.name for node in self.nodes)
        job = self.lab.propose("tiny", self.bank, **{"lab": lab, "bank": bank, **changes})
        self.lab.approve(job)
        return job


@pytest.fixture(scope="module")
def kept_pair(running: Lab, tables: Path) -> Iterator[Pair]:
    nodes = (
        running.add_node("lab", tables / "lab", limits="share_seconds = 1"),
        running.add_node("bank_a", tables / "bank", limits="share_seconds = 1"),
    )
    people = consented(running, "bank_a", ids(0, 1600))
    running.wait_nodes(*(node.name for node in nodes))
    yield Pair(running, people, "bank_a", nodes)
    running.stop()


@pytest.fixture
def pair(kept_pair: Pair) -> Iterator[Pair]:
    """The module's two nodes, both running whatever was done to them before; other nodes end with the test.

    A node that starts for the first time verifies every consent there is: that is done once for all tests.
    """
    for node in kept_pair.nodes:
        if not node.running:
            node.start()
    yield kept_pair
    kept_pair.lab.stop(but=[node.name for node in kept_pair.nodes])


@pytest.fixture
def bank(running: Lab) -> str:
    """A bank of its own for the test."""
    name = f"bank{next(_numbers)}"
    running.admit(name)
    return name


def consented(lab: Lab, bank: str, everybody: list[str], enterprises: Enterprises | None = None) -> Enterprises:
    """Everybody's consent to joint training with `bank`, on record at the control plane."""
    enterprises = enterprises or Enterprises()
    outcome = lab.consent(enterprises.consent(one, bank) for one in everybody)
    assert outcome["errors"] == []
    return enterprises


def is_plaintext(path: Path) -> bool:
    """A table in any format that we or SecretFlow write, or the marker anywhere but in a model (a level's name)."""
    data = path.read_bytes()
    if data[:4] == b"PAR1" or data[:3] == b"ORC" or data[:6] == b"ARROW1":
        return True
    is_model = path.name in ("model.json", "model.lgb.txt") or path.parent.name == "releases"
    return MARKER.encode() in data and not is_model


def assert_no_plaintext(root: Path, since: float) -> None:
    """Nothing that a node or an engine wrote since then, state and temporary folders alike, holds a row."""
    seen = 0
    for folder in (root, Path("/dev/shm")):
        for path in folder.rglob("*"):
            try:
                if not path.is_file() or path.stat().st_mtime < since - 1:
                    continue
                seen += folder == root
                found = is_plaintext(path)
            except OSError:
                continue  # it went away while we looked
            assert not found, f"plaintext in {path}"
    assert seen  # the nodes do write: the search looked in the right place


@pytest.fixture
def clean_disk(running: Lab) -> Iterator[None]:
    started = time.time()
    yield
    assert_no_plaintext(running.root, started)
