"""However a job ends, both engines end too, soon, with a cause people understand and nothing of anybody's rows."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from . import harness
from .conftest import COLUMNS, make_tables, write_inputs
from .harness import Hooks, Pair, Side

RECIPE = {"name": "boosting", "params": {"rounds": 200, "max_depth": 3, "bins": 8}}
END_SECONDS = 60  # the bar for every ending


def start(folder: Path, tables: dict[str, pd.DataFrame], hooks: Hooks | None = None, **options: Any) -> Pair:
    changes = {key: options.pop(key) for key in list(options) if "__" in key}
    body = harness.ticket(COLUMNS, options.pop("recipe", RECIPE), **changes)
    return Pair(harness.tasks(body), write_inputs(tables, folder), folder, hooks, **options)


def codes(sides: dict[str, Side]) -> dict[str, str | None]:
    return {party: side.error["code"] if side.error else None for party, side in sides.items()}


def assert_nothing_said(side: Side, tables: dict[str, pd.DataFrame]) -> None:
    """What went to the node holds no value of a row and no traceback."""
    said = str(side.controls)
    assert "Traceback" not in said and "File " not in said
    for frame in tables.values():
        assert not any(str(value) in said for value in frame["id"].head(50))


def test_disjoint_tables_end_both_parties_with_empty_intersection(tmp_path: Path) -> None:
    tables = make_tables(300)
    tables["lab"]["id"] = "other-" + tables["lab"]["id"]
    pair = start(tmp_path, tables)
    sides = pair.wait(END_SECONDS)
    assert codes(sides) == {"bank": "empty_intersection", "lab": "empty_intersection"}
    assert all(side.code != 0 and side.error["message_zh"] for side in sides.values())
    assert pair.leftovers("bank") == [] and pair.leftovers("lab") == []


def test_a_killed_peer_ends_the_survivor_with_a_cause(tmp_path: Path) -> None:
    killed: list[float] = []

    def kill_lab(pair: Pair, party: str, message: dict[str, Any]) -> None:
        if party == "bank" and message["type"] == "progress" and not killed:
            killed.append(time.monotonic())
            pair.processes["lab"].kill()

    sides = start(tmp_path, make_tables(300), Hooks(on_control=kill_lab)).wait(2 * END_SECONDS)
    assert sides["bank"].error is not None and sides["bank"].error["code"] in ("peer_silent", "peer_failed")
    assert time.monotonic() - killed[0] < END_SECONDS
    assert sides["bank"].code != 0


def test_a_killed_bridge_takes_its_child_along(tmp_path: Path) -> None:
    def kill(pair: Pair, party: str, message: dict[str, Any]) -> None:
        if message["type"] == "progress":
            pair.processes[party].kill()

    pair = start(tmp_path, make_tables(300), Hooks(on_control=kill))
    pair.wait(END_SECONDS)
    time.sleep(0.5)
    mine = str(tmp_path)
    survivors = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                survivors += [entry.name] if mine in (entry / "cmdline").read_text() else []
            except OSError:
                continue
    assert survivors == []


def test_a_peer_that_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    pair = start(tmp_path, make_tables(300), parties=("bank",), deadlines__connect=3, deadlines__stall=6)
    sides = pair.wait(END_SECONDS)
    assert codes(sides)["bank"] in ("peer_absent", "peer_silent")


def test_a_frozen_peer_is_noticed(tmp_path: Path) -> None:
    frozen: list[int] = []

    def freeze(pair: Pair, party: str, message: dict[str, Any]) -> None:
        if party == "bank" and message["type"] == "progress" and not frozen:
            frozen.append(pair.processes["lab"].pid)
            os.kill(frozen[0], signal.SIGSTOP)

    pair = start(tmp_path, make_tables(300), Hooks(on_control=freeze), deadlines__stall=5)
    while pair.processes["bank"].poll() is None:
        time.sleep(0.1)
    os.kill(frozen[0], signal.SIGKILL)
    with pytest.raises(ChildProcessError):
        pair.wait(END_SECONDS)  # the bank was reaped by poll above
    assert codes(pair.sides)["bank"] == "peer_silent"


def test_a_stopped_task_ends_quietly(tmp_path: Path) -> None:
    def stop(pair: Pair, party: str, message: dict[str, Any]) -> None:
        if message["type"] == "progress":
            pair.stop(party)

    sides = start(tmp_path, make_tables(300), Hooks(on_control=stop)).wait(END_SECONDS)
    assert codes(sides) == {"bank": None, "lab": None}
    assert not any(side.of("done") for side in sides.values())


def test_a_phase_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    sides = start(tmp_path, make_tables(300), deadlines__phase=8).wait(END_SECONDS)
    assert "deadline" in codes(sides).values()
    assert all(side.error is not None for side in sides.values())


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("protocol__spu", "REF2K"),
        ("protocol__field", "FM64"),
        ("protocol__psi", "KKRT"),
        ("protocol__heu", {"schema": "ou", "key_size": 1024}),
        ("protocol__heu", {"schema": "mock", "key_size": 2048}),
    ],
)
def test_unsafe_protocols_are_refused_by_name(tmp_path: Path, change: str, value: Any) -> None:
    from creditlab_engine import protocol
    from creditlab_engine.errors import EngineError

    body = harness.ticket(COLUMNS, RECIPE, **{change: value})
    with pytest.raises(EngineError) as refused:
        protocol.check(body["protocol"])
    named = value if isinstance(value, str) else str(value["key_size"] if value["schema"] == "ou" else value["schema"])
    assert refused.value.code == "protocol_refused" and named in refused.value.message


def test_an_engine_refuses_ref2k(tmp_path: Path) -> None:
    sides = start(tmp_path, make_tables(300), parties=("lab",), protocol__spu="REF2K").wait(END_SECONDS)
    assert codes(sides)["lab"] == "protocol_refused" and "REF2K" in sides["lab"].error["message"]


def test_a_constant_label_ends_both_and_the_lab_hears_the_code_only(tmp_path: Path) -> None:
    tables = make_tables(300)
    tables["bank"]["y"] = 0
    sides = start(tmp_path, tables).wait(END_SECONDS)
    assert codes(sides) == {"bank": "label_constant", "lab": "label_constant"}


def test_a_malformed_table_names_the_column_and_no_value(tmp_path: Path) -> None:
    tables = make_tables(300)
    tables["lab"]["headcount"] = ["secret-value-91"] * len(tables["lab"])
    sides = start(tmp_path, tables).wait(END_SECONDS)
    assert codes(sides) == {"bank": "input_malformed", "lab": "input_malformed"}
    assert "headcount" in sides["lab"].error["message"] and "headcount" not in sides["bank"].error["message"]
    for side in sides.values():
        assert "secret-value" not in str(side.controls)
        assert_nothing_said(side, tables)


def test_a_message_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "owned"
    evil = Path(__file__).parent / "evil"
    paths = os.pathsep.join([str(evil), str(harness.ROOT), str(harness.ENGINE)])
    environment = {"bank": {"PYTHONPATH": paths, "EVIL_TARGET": str(target)}}
    tables = make_tables(300)
    sides = start(tmp_path, tables, environment=environment).wait(END_SECONDS)
    assert codes(sides)["lab"] == "message_refused"
    assert not target.exists()
    assert_nothing_said(sides["lab"], tables)


def test_different_cohorts_after_a_withdrawal_stop_the_job(tmp_path: Path) -> None:
    tables = make_tables(300)
    common = sorted(set(tables["bank"]["id"]) & set(tables["lab"]["id"]))

    class OneSided(dict):  # type: ignore[type-arg]
        """Withdrawals that only the first party to ask hears of."""

        def get(self, phase: str, default: Any = None) -> Any:
            return self.pop(phase, default) if phase == "screen" else default

    sides = start(tmp_path, tables, Hooks(exclude=OneSided(screen=common[:3]))).wait(END_SECONDS)
    assert codes(sides) == {"bank": "cohort_mismatch", "lab": "cohort_mismatch"}


def test_tables_of_different_dates_are_refused_at_both_parties(tmp_path: Path) -> None:
    tables = make_tables(300)
    for party in tables:
        tables[party]["as_of"] = dt.date(2024, 1, 31)
    common = sorted(set(tables["bank"]["id"]) & set(tables["lab"]["id"]))
    tables["lab"].loc[tables["lab"]["id"] == common[5], "as_of"] = dt.date(2024, 2, 1)
    sides = start(tmp_path, tables, dataset__as_of="as_of").wait(END_SECONDS)
    assert codes(sides) == {"bank": "as_of_differs", "lab": "as_of_differs"}
    assert_nothing_said(sides["lab"], tables)
