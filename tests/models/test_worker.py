"""The worker's tasks over a real channel, on real data: results, withdrawals, refusals, silence about rows."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consent.ticket import ticket_digest
from models.formats import content_sha256, join_parts, split_part, validate
from models.learners import columns_of
from models.sample import join, read_parquet
from tests.models.conftest import zone
from tests.models.support import ROOT, Node, parquet, run_worker, sealed, sides, ticket

FOUR = {"bank_only", "lab_only", "stacked", "joint"}


def aucs(zone_run):
    return {name: block["auc"] for name, block in zone_run.evaluation["models"].items()}


def test_sba_boosting_meets_its_bars_out_of_time(sba_zone):
    auc = aucs(sba_zone)
    assert set(auc) == FOUR
    assert auc["joint"] >= 0.61
    assert auc["joint"] >= auc["bank_only"] + 0.02
    assert sba_zone.evaluation["uplift"]["auc_ci"][0] > 0
    assert sba_zone.evaluation["cohort"]["intersection"] == 13_600
    assert sba_zone.evaluation["cohort"]["test"] == 2_930


def test_polish_boosting_meets_its_bar(polish_zone):
    assert aucs(polish_zone)["joint"] >= 0.93


def test_uci_boosting_is_near_the_published_reference(uci_zone):
    auc = aucs(uci_zone)
    assert auc["joint"] == pytest.approx(0.774, abs=0.012)
    assert auc["bank_only"] == pytest.approx(0.724, abs=0.012)
    assert auc["lab_only"] == pytest.approx(0.759, abs=0.012)


def test_sba_scorecard_is_near_the_published_reference(sba_card):
    auc = aucs(sba_card)
    assert auc["joint"] >= 0.60
    assert auc["joint"] >= auc["bank_only"] + 0.015


@pytest.mark.parametrize("run", ["sba_zone", "sba_card"])
def test_the_model_document_scores_like_the_models_that_were_judged(run, request):
    done = request.getfixturevalue(run)
    assert validate(done.model)["ticket_sha256"] == ticket_digest(done.ticket)
    assert done.model["calibration"] == done.evaluation["calibration"]
    from models.evaluation import auc
    from models.roles import TEST
    from models.scoring import finish, partial

    columns = columns_of(done.ticket)
    rows = join(
        *(read_parquet(parquet("sba_2003_2006", party), party) for party in ("bank", "lab")), done.ticket, columns
    )
    picked = np.flatnonzero(rows.rows(TEST))
    margins = []
    for row in rows.X.iloc[picked].to_dict("records"):
        split = {
            party: {k.split(".", 1)[1]: v for k, v in row.items() if k.startswith(party)} for party in ("bank", "lab")
        }
        margins.append(finish(done.model, {p: partial(done.model, p, split[p]) for p in split})["margin"])
    assert auc(rows.y[picked], np.array(margins)) == pytest.approx(done.evaluation["models"]["joint"]["auc"], abs=1e-4)


@pytest.mark.parametrize("run", ["polish_zone", "uci_zone"])
def test_calibrated_probabilities_keep_their_word_on_average(run, request):
    evaluation = request.getfixturevalue(run).evaluation
    check, rows = evaluation["calibration_check"], evaluation["cohort"]
    # both rates are counts: of the calibration rows (30 bads in polish_1year) and of the test rows
    variance = check["observed"] * (1 - check["observed"]) * (1 / rows["calibration"] + 1 / rows["test"])
    assert check["predicted"] == pytest.approx(check["observed"], abs=2.5 * variance**0.5)


def test_a_worse_vintage_than_the_calibration_rows_shows(sba_zone):
    check = sba_zone.evaluation["calibration_check"]
    assert check["observed"] == pytest.approx(0.31, abs=0.005)
    assert check["predicted"] < 0.26


def test_training_twice_gives_the_same_model(sba_zone, tmp_path):
    code, node, body = zone(tmp_path, "sba_2003_2006")
    assert code == 0
    assert content_sha256(body) == content_sha256(sba_zone.ticket)
    for name in ("model.json", "model.lgb.txt", "evaluation.json"):
        own, other = json.loads(node.outputs[name]) if name.endswith("json") else node.outputs[name], None
        other = sba_zone.node.outputs[name]
        other = json.loads(other) if name.endswith("json") else other
        if name == "evaluation.json":
            del own["fit_cpu_seconds"], other["fit_cpu_seconds"]
        assert own == other


def test_phases_come_in_order_with_their_cost(sba_zone):
    done = [message for message in sba_zone.node.of("phase") if message["state"] == "done"]
    assert [message["phase"] for message in done] == ["open", "screen", "fit", "evaluate"]
    assert all(message["cpu_seconds"] >= 0 and message["peak_rss_mb"] > 0 for message in done)
    assert set(sba_zone.node.outputs) == {"evaluation.json", "model.json", "model.lgb.txt"}


def test_a_scorecard_job_hands_out_no_native_text(sba_card):
    assert set(sba_card.node.outputs) == {"evaluation.json", "model.json"}


def common_ids(n):
    bank, lab = (set(side.ids) for side in sides("sba_2003_2006"))
    return sorted(bank & lab)[:n]


def test_withdrawn_enterprises_are_gone_from_the_phase_on(sba_zone, tmp_path):
    gone = common_ids(900)
    code, node, _ = zone(tmp_path, "sba_2003_2006", exclude={"screen": gone[:500], "fit": gone, "evaluate": gone})
    assert code == 0
    assert json.loads(node.outputs["evaluation.json"])["cohort"]["intersection"] == 13_600 - 900
    assert json.loads(node.outputs["model.json"])["trees"] != sba_zone.model["trees"]


def test_a_withdrawal_after_the_fit_has_the_models_fitted_again(tmp_path):
    gone = common_ids(900)
    folders = [tmp_path / name for name in ("before", "after")]
    models = []
    for path, phases in zip(folders, (["open", "screen", "fit", "evaluate"], ["evaluate"]), strict=True):
        path.mkdir()
        code, node, _ = zone(path, "sba_2003_2006", exclude=dict.fromkeys(phases, gone))
        assert code == 0
        models.append(json.loads(node.outputs["model.json"])["trees"])
    assert models[0] == models[1]


@pytest.mark.parametrize("shift", [1, -1])
def test_a_lab_table_of_another_date_is_refused(tmp_path, shift):
    lab = pq.read_table(io.BytesIO(parquet("sba_2003_2006", "lab")))
    place, days = lab.column_names.index("as_of"), lab.column("as_of").to_pylist()
    days[: len(days) // 2] = [day + dt.timedelta(days=shift) for day in days[: len(days) // 2]]
    sink = io.BytesIO()
    pq.write_table(lab.set_column(place, "as_of", pa.array(days, pa.date32())), sink)
    code, node, _ = zone(tmp_path, "sba_2003_2006", lab=sink.getvalue())
    assert code == 1
    error = node.of("error")[0]
    assert error["code"] == "as_of_differs"
    assert "of 13600 common enterprises carry different dates" in error["message"]
    assert node.outputs == {}


def test_a_stop_of_the_node_ends_the_worker_quietly(tmp_path):
    code, node, _ = zone(tmp_path, "sba_2003_2006", stop_at="screen")
    assert code == 0
    assert node.outputs == {}
    assert node.of("error") == []
    assert node.of("done") == []


def error_of(code, node):
    assert code == 1
    assert node.outputs == {}
    (error,) = node.of("error")
    assert error["message_zh"]
    return error


def test_no_common_enterprise_is_a_clear_failure(tmp_path):
    every = list(sides("sba_2003_2006")[0].ids)
    code, node, _ = zone(tmp_path, "sba_2003_2006", exclude={"open": every})
    assert error_of(code, node)["code"] == "empty_intersection"


def test_too_few_outcomes_are_a_clear_failure(tmp_path):
    code, node, _ = zone(tmp_path, "sba_2003_2006", exclude={"open": common_ids(13_550)})
    assert error_of(code, node)["code"] == "too_few_outcomes"


def test_an_impossible_recipe_is_a_clear_failure(tmp_path):
    code, node, _ = zone(tmp_path, "sba_2003_2006", {"name": "boosting", "params": {"rounds": 0}})
    assert error_of(code, node)["code"] == "recipe_parameter_range"


def zone_task(body, key):
    return {
        "type": "task",
        "task": "zone_train",
        "party": "lab",
        "ticket": body,
        "data_key": base64.b64encode(key).decode(),
    }


@pytest.mark.parametrize("fault", ["other key", "other ticket", "changed byte", "cut short", "no key"])
def test_a_sample_sealed_for_another_job_does_not_open(tmp_path, fault):
    body, key = ticket("sba_2003_2006"), os.urandom(32)
    data = sealed(parquet("sba_2003_2006", "bank"), body, key)
    task = zone_task(body, key)
    if fault == "other key":
        task = zone_task(body, os.urandom(32))
    elif fault == "other ticket":
        task = zone_task(body | {"job_id": "j-ffffffffffff"}, key)
    elif fault == "changed byte":
        data = data[:-1] + bytes([data[-1] ^ 1])
    elif fault == "cut short":
        data = data[:9]
    else:
        task["data_key"] = "nonsense"
    (tmp_path / "bank.sealed").write_bytes(data)
    (tmp_path / "lab.parquet").write_bytes(parquet("sba_2003_2006", "lab"))
    assert error_of(*run_worker(task, tmp_path))["code"] == "sealed_sample_refused"


def with_table(tmp_path, change):
    body, key = ticket("sba_2003_2006"), os.urandom(32)
    frame = pd.read_parquet(io.BytesIO(parquet("sba_2003_2006", "bank")))
    buffer = io.BytesIO()
    change(frame).to_parquet(buffer)
    (tmp_path / "bank.sealed").write_bytes(sealed(buffer.getvalue(), body, key))
    (tmp_path / "lab.parquet").write_bytes(parquet("sba_2003_2006", "lab"))
    return run_worker(zone_task(body, key), tmp_path)


SECRET = "鼎盛商贸 91350100M000100Y43"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        (lambda f: f.assign(charged_off=f["charged_off"] * 7), "label_not_binary", "charged_off"),
        (lambda f: pd.concat([f, f.head(1)]), "duplicate_id", "ent_id"),
        (lambda f: f.drop(columns="guarantee_ratio"), "column_absent", "guarantee_ratio"),
        (lambda f: f.assign(guarantee_ratio=SECRET), "text_in_numeric_column", "guarantee_ratio"),
    ],
)
def test_a_broken_table_is_refused_by_field_and_without_its_values(tmp_path, change, code, field):
    error = error_of(*with_table(tmp_path, change))
    assert error["code"] == code
    assert field in error["message"]
    assert SECRET not in json.dumps(error, ensure_ascii=False)


def test_an_unforeseen_failure_says_where_and_repeats_no_row(tmp_path, monkeypatch):
    import models.leaks

    def broken(*_):
        raise KeyError(SECRET)

    monkeypatch.setattr(models.leaks, "scan", broken)
    code, node, _ = zone(tmp_path, "sba_2003_2006")
    error = error_of(code, node)
    assert error["code"] == "worker_failed"
    assert "KeyError" in error["message"]
    assert SECRET not in json.dumps(node.messages, ensure_ascii=False)


def test_an_unknown_task_is_refused(tmp_path):
    assert error_of(*run_worker({"type": "task", "task": "rm"}, tmp_path))["code"] == "task_unknown"


def test_no_output_names_an_enterprise(sba_zone):
    known = set(sides("sba_2003_2006")[0].ids)
    for data in sba_zone.node.outputs.values():
        assert not any(enterprise.encode() in data for enterprise in known)


# ---- the bank's evaluation of federated scores -------------------------------------------------------------------


def federated_inputs(folder, done, drop=()):
    """What the engine hands the bank, made here from a joint model trained in the zone."""
    from models.roles import FIT
    from models.training import fit_models

    columns = columns_of(done.ticket)
    rows = join(
        *(read_parquet(parquet("sba_2003_2006", party), party) for party in ("bank", "lab")), done.ticket, columns
    ).without(drop)
    fitted = fit_models(rows, columns, done.evaluation["recipe"], 20240601, 1, ["lab_only", "joint"])
    scores = pd.DataFrame(
        {
            "id": rows.ids,
            "role": rows.role,
            "y": rows.y,
            "joint_margin": fitted.learners["joint"].margin(rows.X),
            "lab_margin": fitted.learners["lab_only"].margin(rows.X),
        }
    ).sample(frac=1, random_state=1)
    assert (rows.role == FIT).any()
    scores.to_parquet(folder / "scores.parquet")
    part = split_part(done.model, "bank")
    part["calibration"] = part["scale"] = None
    (folder / "model_part.json").write_text(json.dumps(part))
    (folder / "table.parquet").write_bytes(parquet("sba_2003_2006", "bank"))


def bank_task(done, **more):
    body = done.ticket | {"mode": "federated"}
    return {"type": "task", "task": "bank_evaluate", "party": "bank", "ticket": body, "leaks": [], "screen": [], **more}


@pytest.mark.parametrize("run", ["sba_zone", "sba_card"])
def test_federated_scores_are_judged_like_zone_scores(run, request, tmp_path):
    done = request.getfixturevalue(run)
    federated_inputs(tmp_path, done)
    code, node = run_worker(bank_task(done), tmp_path)
    assert code == 0, node.of("error")
    result = json.loads(node.outputs["evaluation.json"])
    for key in ("models", "uplift", "calibration", "curves", "cohort"):
        assert result[key] == done.evaluation[key]
    lab = [item for item in result["importance"] if item["party"] == "lab"]
    assert [item["feature"] for item in lab] == [None]
    assert sum(item["share"] for item in result["importance"]) == pytest.approx(1, abs=0.01)
    assert {feature["party"] for feature in result["stability"]["features"]} == {"bank"}
    part, other = (split_part(done.model, party) for party in ("bank", "lab"))
    part["calibration"] = part["scale"] = None
    assert join_parts(part, other, result["calibration"], result["scale"]) == done.model


def test_the_banks_evaluation_leaves_out_who_withdrew_and_what_leaks(sba_zone, tmp_path):
    gone = common_ids(400)
    federated_inputs(tmp_path, sba_zone)
    leak = {
        "party": "bank",
        "column": "guarantee_ratio",
        "severity": "exclude",
        "reason": "r",
        "reason_zh": "r",
        "auc": 0.9,
    }
    screen = [{"party": "lab", "column": "state", "auc": 0.99, "iv": 2.0, "missing_auc": 0.5}]
    code, node = run_worker(bank_task(sba_zone, leaks=[leak], screen=screen), tmp_path, exclude={"evaluate": gone})
    assert code == 0, node.of("error")
    result = json.loads(node.outputs["evaluation.json"])
    assert result["cohort"]["intersection"] == 13_600 - 400
    assert result["excluded_columns"] == [
        {"party": "bank", "column": "guarantee_ratio"},
        {"party": "lab", "column": "state"},
    ]
    assert {(leak["party"], leak["column"], leak["severity"]) for leak in result["leaks"]} == {
        ("bank", "guarantee_ratio", "exclude"),
        ("lab", "state", "exclude"),
    }
    assert all(item["feature"] != "guarantee_ratio" for item in result["stability"]["features"])


# ---- as a process ------------------------------------------------------------------------------------------------


def test_it_runs_as_a_process_of_its_own_with_an_empty_environment(tmp_path):
    import socket

    (tmp_path / "table.parquet").write_bytes(parquet("sba_2003_2006", "bank"))
    ours, theirs = socket.socketpair()
    node = Node()
    task = {"type": "task", "task": "leak_scan", "party": "bank", "ticket": ticket("sba_2003_2006")}
    thread = threading.Thread(target=node.serve, args=(ours, task))
    thread.start()
    fd = theirs.fileno()
    process = subprocess.Popen(
        [sys.executable, "-m", "models.worker", "--channel-fd", str(fd), "--inputs", str(tmp_path)],
        pass_fds=[fd], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    theirs.close()
    _, errors = process.communicate(timeout=120)
    thread.join(10)
    ours.close()
    assert process.returncode == 0, errors
    assert json.loads(node.outputs["leaks.json"]) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "table.parquet"]
