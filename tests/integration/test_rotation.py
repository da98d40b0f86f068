"""The platform's key is changed under a running node: real processes, the real command."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

from consent.canonical import canonical
from consent.keyring import Keyring
from consent.keys import VerifyingKey
from tests.integration.conftest import ids
from tests.support.lab import CREDITLAB, Enterprises, Lab, Node


def heard(node: Node) -> int:
    """How many events of the feed the node has verified and kept."""
    path = node.state / "journal.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(path) as journal:
        return journal.execute("SELECT count(*) FROM feed").fetchone()[0]


def until_heard(node: Node, events: int, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while heard(node) < events:
        assert time.monotonic() < deadline, node.log.read_text()[-3000:]
        time.sleep(0.2)


def test_a_running_node_follows_a_rotation_and_a_new_one_replays_what_came_before(running: Lab, tables: Path) -> None:
    """R14: nobody hands a new key to the nodes; the old one has signed it, and that is enough."""
    people, first = Enterprises(), running.root / "first.pub"
    shutil.copyfile(running.control.platform_key, first)
    node = running.add_node("lab", tables / "lab", start=False)
    config = node.folder / "node.toml"
    config.write_text(config.read_text().replace(str(running.control.platform_key), str(first)))
    node.start()
    running.wait_nodes("lab-node")
    running.consent(people.consent(one, "bank_a") for one in ids(0, 3))
    until_heard(node, 3)

    running.control.stop()
    command = [CREDITLAB, "keyring", "rotate", "--home", str(running.control.home)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    running.control.start()
    assert running.control.platform_key.read_text() != first.read_text()
    running.consent(people.consent(one, "bank_a") for one in ids(3, 5))
    until_heard(node, 5)
    with sqlite3.connect(node.state / "journal.sqlite") as journal:
        [(raw,)] = journal.execute("SELECT statements FROM keyring").fetchall()
    ring = Keyring.read(raw, VerifyingKey.from_b64(first.read_text().strip()))
    assert [key.public.b64 for key in ring.keys] == [
        first.read_text().strip(),
        running.control.platform_key.read_text().strip(),
    ]
    assert canonical(list(ring.statements)) == raw

    node.stop()
    shutil.rmtree(node.state)  # a new node under the new key hears what the old key countersigned
    config.write_text(config.read_text().replace(str(first), str(running.control.platform_key)))
    node.start()
    until_heard(node, 5)
