"""Trained once a session: the zone task on real data, as its node would run it."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import Any

import pytest

from tests.models.support import Node, parquet, run_worker, sealed, ticket


@dataclass
class Zone:
    ticket: dict[str, Any]
    node: Node
    evaluation: dict[str, Any]
    model: dict[str, Any]


def zone(
    folder, name: str, recipe: Any = "boosting", lab: bytes | None = None, **node: Any
) -> tuple[int, Node, dict[str, Any]]:
    """Run zone_train on a data set with everybody consenting; `lab` stands in for the lab's Parquet file."""
    body, key = ticket(name, recipe), os.urandom(32)
    (folder / "lab.parquet").write_bytes(lab or parquet(name, "lab"))
    (folder / "bank.sealed").write_bytes(sealed(parquet(name, "bank"), body, key))
    task = {
        "type": "task",
        "task": "zone_train",
        "party": "lab",
        "ticket": body,
        "data_key": base64.b64encode(key).decode(),
    }
    code, served = run_worker(task, folder, **node)
    return code, served, body


def trained(folder, name: str, recipe: Any) -> Zone:
    code, served, body = zone(folder, name, recipe)
    assert code == 0, served.of("error")
    evaluation, model = (json.loads(served.outputs[file]) for file in ("evaluation.json", "model.json"))
    return Zone(body, served, evaluation, model)


@pytest.fixture(scope="session")
def sba_zone(tmp_path_factory) -> Zone:
    return trained(tmp_path_factory.mktemp("sba"), "sba_2003_2006", "boosting")


@pytest.fixture(scope="session")
def sba_card(tmp_path_factory) -> Zone:
    return trained(tmp_path_factory.mktemp("sba-card"), "sba_2003_2006", "logistic")


@pytest.fixture(scope="session")
def polish_zone(tmp_path_factory) -> Zone:
    return trained(tmp_path_factory.mktemp("polish"), "polish_1year", "boosting")


@pytest.fixture(scope="session")
def uci_zone(tmp_path_factory) -> Zone:
    return trained(tmp_path_factory.mktemp("uci"), "uci_card", "boosting")
