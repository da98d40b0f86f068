"""What the airlock's machine checks refuse before a person is asked, and when a released file is handed over."""

from __future__ import annotations

import asyncio
import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consent.ticket import make_release_order
from consent.times import stamp
from enclave.airlock import Airlock, machine_checks
from enclave.endings import JobEnded
from enclave.gate import UNREACHABLE, Consents, now
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from enclave.recalls import Recalls
from federated.relay.link import Cause
from federated.relay.server import Refused
from models.formats import FORMAT, SCALE
from models.recipes import RECIPES
from tests.enclave.feeds import Feed


def model(*covers: int) -> dict[str, Any]:
    """One tree with two leaves of these covers."""
    left, right = covers
    root = {
        "party": "lab", "input": "arrears", "op": "lt", "value": 1.5, "missing": "right",
        "left": 1, "right": 2, "gain": 3.0, "cover": left + right,
    }  # fmt: skip
    return {
        "format": FORMAT,
        "kind": "tree_ensemble",
        "job_id": "j-0123456789ab",
        "ticket_sha256": "0" * 64,
        "mode": "zone",
        "recipe": {"name": "boosting", "params": {}},
        "inputs": {"bank": [], "lab": [{"name": "arrears", "kind": "numeric"}]},
        "base_margin": 0.0,
        "trees": [{"nodes": [root, {"leaf": 0.1, "cover": left}, {"leaf": -0.1, "cover": right}]}],
        "calibration": {"a": 1.0, "b": 0.0},
        "scale": dict(SCALE),
    }


def test_leaves_as_large_as_the_least_a_recipe_allows_pass() -> None:
    least = int(RECIPES["boosting"]["min_leaf"].low)
    machine_checks(model(least, 400))


def test_a_leaf_that_could_single_somebody_out_is_refused() -> None:
    with pytest.raises(JobEnded) as ended:
        machine_checks(model(400, 19))
    assert ended.value.cause.code == "leaf_too_small"
    assert "19 rows" in ended.value.cause.message and "19 行" in ended.value.cause.message_zh


def test_a_file_that_is_no_model_is_refused() -> None:
    broken = copy.deepcopy(model(400, 400))
    broken["trees"][0]["nodes"][0]["left"] = 0  # a node that is its own child
    with pytest.raises(JobEnded) as ended:
        machine_checks(broken)
    assert ended.value.cause.code == "model_invalid"


# ---- the hand-over


ROWS = 20
SHA256 = "ab" * 32


class Zone:
    """A lab's airlock with one released file, whose model rests on the rows of `e0` to `e19`."""

    def __init__(self, folder: Path, rows: int = ROWS, role: str = "lab") -> None:
        self.feed = Feed()
        self.given = [self.feed.maker.consent(f"e{n}") for n in range(ROWS)]
        self.journal = Journal(folder / "journal.sqlite")
        keys = PlatformKeys(self.feed.maker.platform.public)
        self.consents = Consents(self.journal, keys, self.feed.fetch)
        asyncio.run(self.consents.sync())
        control: Any = SimpleNamespace()
        recalls = Recalls(self.journal, self.consents, control, keys)
        config: Any = SimpleNamespace(state_dir=folder, role=role, recall_share=0.1)
        self.airlock = Airlock(config, keys, self.journal, control, self.consents, recalls)
        (folder / "releases" / f"{SHA256}.json").write_bytes(b"{}")
        used = [(f"e{n}", event["document"]["body"]["consent_id"]) for n, event in enumerate(self.given[:rows])]
        self.journal.record_uses(
            used, at=now(), recipient="bank_a", purpose="joint_training", content="x", reference="j-1"
        )

    def order(self, **changes: Any) -> dict[str, Any]:
        at = datetime.now(UTC)
        side = {"bank": {"institution": "bank_a", "node": "bank-node"}, "lab": {"institution": "lab", "node": "lab"}}
        fields = {
            "release_id": "r-1", "job_id": "j-1", "sha256": SHA256, "parties": side, "author": "a",
            "reviewers": ["b", "c"], "issued_at": stamp(at - timedelta(seconds=5)),
            "expires_at": stamp(at + timedelta(hours=1)),
        }  # fmt: skip
        return make_release_order(self.feed.maker.platform, **{**fields, **changes})

    def fetched(self, **changes: Any) -> bytes:
        return asyncio.run(self.airlock.answer_fetch("bank-node", {"order": self.order(**changes)}))

    def refused(self, **changes: Any) -> str:
        with pytest.raises(Refused) as caught:
            self.fetched(**changes)
        return caught.value.cause.code

    def withdraw(self, *numbers: int) -> None:
        for n in numbers:
            self.feed.maker.withdrawal(self.given[n], at=now())


def test_a_released_file_is_handed_over_while_few_have_withdrawn(tmp_path: Path) -> None:
    zone = Zone(tmp_path)
    zone.withdraw(0, 1)  # a tenth
    assert zone.fetched() == b"{}"


def test_a_file_is_not_handed_over_when_too_many_have_withdrawn_since_its_release(tmp_path: Path) -> None:
    """R44: scope `export`; the node counts its own rows and asks nobody."""
    zone = Zone(tmp_path)
    assert zone.fetched() == b"{}"
    zone.withdraw(0, 1, 2)
    assert zone.refused() == "release_recalled"


def test_a_node_that_knows_no_row_of_the_job_hands_nothing_over(tmp_path: Path) -> None:
    zone = Zone(tmp_path, rows=0)
    assert zone.refused() == "withdrawn_share_unknown"


def test_the_order_is_judged_at_the_hand_over_too(tmp_path: Path) -> None:
    zone = Zone(tmp_path)
    assert zone.refused(reviewers=["a", "b"]) == "reviews_missing"
    assert zone.refused(sha256="cd" * 32) == "not_released_yet"
    with pytest.raises(Refused, match="another bank node"):
        asyncio.run(zone.airlock.answer_fetch("other-node", {"order": zone.order()}))


def test_a_bank_takes_no_file_that_it_may_not_have(tmp_path: Path) -> None:
    zone = Zone(tmp_path, role="bank")
    zone.withdraw(0, 1, 2)
    release_id, told = asyncio.run(zone.airlock.obey(zone.order()))
    assert (release_id, told["state"], told["code"]) == ("r-1", "failed", "release_recalled")


def test_without_the_newest_word_nothing_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = Zone(tmp_path)
    later = stamp(datetime.now(UTC) + timedelta(minutes=5))

    async def cut_off(_: int) -> dict:
        raise JobEnded(Cause(UNREACHABLE, "no answer", "无应答"))

    monkeypatch.setattr(zone.consents, "_fetch", cut_off)
    monkeypatch.setattr(zone.consents, "_clock", lambda: later)
    assert zone.refused() == "lease_lapsed"
