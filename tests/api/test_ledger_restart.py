"""kill −9 between an entry and its head: nothing is lost, the next start signs for what was written (R14)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from api.client import LabClient
from api.ledger import offline
from api.ledger.repository import EntryRow, HeadRow
from api.ledger_cli import app as ledger_app
from api.settings import Settings
from tests.api.world import Enterprise
from tests.support.control_plane import ControlPlane
from tests.support.papers import PAPERS


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path / "control").start()
    yield plane
    plane.stop()


def counts(plane: ControlPlane) -> tuple[int, int]:
    """(entries, entries under the newest head), read while nobody serves."""
    with offline.connected(Settings.read({}, home=plane.home)) as connection:
        entries = connection.scalar(sa.select(sa.func.count()).select_from(EntryRow))
        return int(entries or 0), int(connection.scalar(sa.select(sa.func.max(HeadRow.size))) or 0)


def fsck(plane: ControlPlane) -> dict[str, Any]:
    home = plane.home
    words = ["fsck", "--home", home, "--trust", home / "keys" / "platform-first.pub", "--json"]
    result = CliRunner().invoke(ledger_app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def imported(gateway: LabClient, name: str) -> None:
    assert gateway.import_consents([Enterprise(name).consent(f"c-{name}")])["accepted"] == 1


def test_an_entry_whose_head_was_never_signed_is_headed_at_the_next_start(plane: ControlPlane) -> None:
    with plane.operator as operator:
        operator.add_institution("bank-a", "Bank A", "bank", PAPERS)
        operator.add_institution("lab", "Lab", "lab", PAPERS)
        token = operator.add_account("gateway", "platform", ["gateway"])["token"]
    for attempt in range(5):  # a head may come within the blink between the answer and the kill
        with plane.client(token) as gateway:
            imported(gateway, f"E{attempt}")
        plane.kill()
        entries, headed = counts(plane)
        assert entries == attempt + 1  # what was answered is kept
        if headed < entries:
            break
        plane.start()
    assert headed < entries
    before = fsck(plane)  # whole, if not covered yet; started and stopped the database by itself
    assert (before["size"], before["documents"]) == (entries, entries)

    plane.start()
    deadline = time.monotonic() + 10
    while fsck(plane)["covered"] < entries:  # over the running database
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with plane.client(token) as gateway:
        imported(gateway, "E-after")
        keyring = gateway.call("GET", "/v1/keyring")
        assert len(keyring) == 1
    assert fsck(plane)["size"] == entries + 1
