"""The plaintext worker: one task in one sandboxed process, `python -m models.worker --channel-fd N --inputs /in`.

Owns the three tasks leak_scan, bank_evaluate and zone_train: reading inputs, decrypting the sealed sample in memory,
asking leave before each phase, handing out declared outputs. It never opens a network connection, writes no file, and
what it says to the outside (outputs, errors) contains no row.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.channel import Channel, ConsentChanged, Stopped

__all__ = ["main", "run"]


def main(arguments: list[str] | None = None) -> int:
    """Run the task that comes over the channel. Exit code 0 when done or stopped, 1 after an error was reported."""
    parser = argparse.ArgumentParser(prog="models.worker")
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--inputs", type=Path, default=Path("/in"))
    options = parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read once, when numpy and LightGBM are imported
        os.environ.setdefault(name, "1")
    return run(Channel.from_fd(options.channel_fd), options.inputs)


def run(channel: Channel, inputs: Path) -> int:
    """One task on an open channel. Errors are reported with a code and a text that repeats no value of a row."""
    try:
        task = channel.task()
        # After the task arrived: the scientific stack takes seconds to import, and a stop must not wait for it.
        from models.recipes import RecipeError
        from models.sample import TaskError

        try:
            handler = {"leak_scan": leak_scan, "bank_evaluate": bank_evaluate, "zone_train": zone_train}.get(
                task.get("task", "")
            )
            if handler is None:
                raise TaskError(
                    "task_unknown", f"no such task: {task.get('task')!r}", f"未知任务：{task.get('task')!r}"
                )
            channel.done(handler(channel, task, inputs))
            return 0
        except (TaskError, RecipeError) as error:
            channel.fail(error.code, error.message, error.message_zh)
            return 1
    except Stopped:
        return 0
    except Exception as error:
        # Messages of libraries may quote data: outside the sandbox goes the type and the place, nothing else.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        channel.fail(
            "worker_failed",
            f"the task failed inside the sandbox ({type(error).__name__} at {place}); its details stay there",
            f"任务在沙箱内失败（{type(error).__name__}，{place}），细节不出沙箱",
        )
        return 1


def leak_scan(channel: Channel, task: dict[str, Any], inputs: Path) -> dict[str, Any]:
    """Phase screen_bank: the party's own columns against the label → leaks.json."""
    from models.leaks import scan
    from models.learners import columns_of
    from models.roles import TEST
    from models.sample import join, read_parquet

    ticket = task["ticket"]
    columns = [column for column in columns_of(ticket) if column.party == task.get("party", "bank")]
    with channel.phase("screen_bank") as phase:
        table = read_parquet(str(inputs / "table.parquet"), "table.parquet")
        sample = join(table, None, ticket, columns).without(phase.exclude)
        train = ~sample.rows(TEST)
        leaks = scan(sample.X.loc[train], sample.y[train], columns)
        channel.output("leaks.json", _json(leaks))
    return {"rows": len(sample), "leaks": len(leaks)}


def bank_evaluate(channel: Channel, task: dict[str, Any], inputs: Path) -> dict[str, Any]:
    """Phase evaluate: federated margins beside a model of the bank's own columns → evaluation.json."""
    import numpy as np

    from models import training
    from models.formats import validate
    from models.leak_rules import judge_screened
    from models.learners import columns_of
    from models.recipes import resolve
    from models.sample import Sample, join, read_parquet

    ticket = task["ticket"]
    recipe = resolve(ticket["recipe"], "federated")
    screened = (judge_screened(row) for row in task.get("screen", ()))
    leaks = [*task.get("leaks", ()), *(record for record in screened if record)]
    kept, left_out = training.kept_columns(columns_of(ticket), leaks, ticket["leaks"])
    bank = [column for column in columns_of(ticket) if column.party == "bank"]
    columns = [column for column in kept if column.party == "bank"]

    def judge(exclude: set[str]) -> int:
        own = join(read_parquet(str(inputs / "table.parquet"), "table.parquet"), None, ticket, bank)
        scores = read_parquet(str(inputs / "scores.parquet"), "scores.parquet").to_pandas()
        part = validate(json.loads((inputs / "model_part.json").read_bytes()))
        place = {enterprise: row for row, enterprise in enumerate(own.ids)}
        kept = [i in place and i not in exclude for i in scores["id"]]
        scores = scores[kept].sort_values("id", ignore_index=True)  # resampling must not depend on the engine's order
        at = np.array([place[i] for i in scores["id"]], dtype=np.int64)
        # Roles come with the scores: the engine's rows are the ones the joint model was really fitted on.
        sample = Sample(
            own.ids[at], own.X.iloc[at].reset_index(drop=True), own.y[at], scores["role"].to_numpy(dtype="U6")
        )
        sample.require_outcomes()
        fitted = training.fit_models(
            sample, columns, recipe, _seed(ticket), _threads(task), ["bank_only"], channel.round
        )
        margins = {
            "bank_only": fitted.learners["bank_only"].margin(sample.X),
            "lab_only": scores["lab_margin"].to_numpy(dtype=np.float64),
            "joint": scores["joint_margin"].to_numpy(dtype=np.float64),
        }
        result = training.evaluate(sample, margins, columns, ticket, recipe)
        result["importance"] = _part_importance(part, sample, margins["joint"])
        result |= _frame(leaks, left_out, fitted.cpu_seconds)
        channel.round()
        channel.output("evaluation.json", _json(result))
        return len(sample)

    return {"rows": _settled(channel, "evaluate", judge), "versions": training.versions()}


def zone_train(channel: Channel, task: dict[str, Any], inputs: Path) -> dict[str, Any]:
    """Phases open, screen, fit, evaluate → evaluation.json, model.json, and model.lgb.txt for boosting."""
    from models import training
    from models.formats import canonical, content_sha256
    from models.leaks import scan
    from models.learners import columns_of
    from models.recipes import resolve
    from models.roles import TEST
    from models.sample import join, read_parquet

    ticket = task["ticket"]
    recipe = resolve(ticket["recipe"], "zone")
    every = columns_of(ticket)
    names = ("bank_only", "lab_only", "joint")
    with channel.phase("open") as phase:
        bank = read_parquet(_unseal(inputs / "bank.sealed", task, ticket), "bank.sealed")
        lab = read_parquet(str(inputs / "lab.parquet"), "lab.parquet")
        sample = join(bank, lab, ticket, every).without(phase.exclude)
        _same_dates(bank, lab, ticket)
        del bank, lab
        sample.require_outcomes()
        common = len(sample)
    with channel.phase("screen") as phase:
        sample = sample.without(phase.exclude)
        train = ~sample.rows(TEST)
        leaks = scan(sample.X.loc[train], sample.y[train], every)
        columns, left_out = training.kept_columns(every, leaks, ticket["leaks"])

    def fitted_on(rest: Any) -> Any:
        rest.require_outcomes()
        return training.fit_models(rest, columns, recipe, _seed(ticket), _threads(task), names, channel.round)

    def fit(exclude: set[str]) -> tuple[Any, Any]:
        rest = sample.without(exclude)
        return rest, fitted_on(rest)

    sample, fitted = _settled(channel, "fit", fit)

    def judge(exclude: set[str]) -> tuple[int, str]:
        rest, models = sample.without(exclude), fitted
        if len(rest) < len(sample):
            # Somebody withdrew while the models were fitted: what is released must not rest on their rows.
            models = fitted_on(rest)
        margins = {name: learner.margin(rest.X) for name, learner in models.learners.items()}
        result = training.evaluate(rest, margins, columns, ticket, recipe)
        joint: Any = models.learners["joint"]
        model = training.document(joint, ticket, recipe, result["calibration"])
        channel.round()
        if model["kind"] == "tree_ensemble":
            result["importance"] = training.tree_importance(model)
            channel.output("model.lgb.txt", joint.text().encode())
        else:
            spreads: dict[tuple[str, str | None], float] = {
                (c.party, c.name): joint.importance()[c.key] for c in columns
            }
            result["importance"] = training.shares(spreads)
        result |= _frame(leaks, left_out, models.cpu_seconds)
        channel.output("model.json", canonical(model))
        channel.output("evaluation.json", _json(result))
        return len(rest), content_sha256(model)

    rows, sha256 = _settled(channel, "evaluate", judge)
    return {"intersection": common, "rows": rows, "model_sha256": sha256, "versions": training.versions()}


# ---- parts of the tasks ------------------------------------------------------------------------------------------


def _settled[T](channel: Channel, name: str, work: Callable[[set[str]], T]) -> T:
    """`work(exclude)` as phase `name`: begun anew from the gate whenever a consent in use ends between its rounds."""
    while True:
        with channel.phase(name) as phase:
            try:
                return work(phase.exclude)
            except ConsentChanged:
                continue


def _unseal(path: Path, task: dict[str, Any], ticket: dict[str, Any]) -> bytes:
    """The bank's Parquet file, decrypted in memory; bound to this ticket by its digest."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from models.formats import content_sha256
    from models.sample import TaskError

    try:
        sealed = path.read_bytes()
        key = base64.b64decode(task["data_key"], validate=True)
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], content_sha256(ticket).encode("ascii"))
    except (InvalidTag, ValueError, binascii.Error, KeyError, OSError):
        raise TaskError(
            "sealed_sample_refused",
            "bank.sealed does not open with this job's key and ticket: it was sealed for another job, or changed",
            "bank.sealed 无法用本任务的密钥与任务书打开：可能属于其他任务或已被改动",
        ) from None


def _same_dates(bank: Any, lab: Any, ticket: dict[str, Any]) -> None:
    """Both tables must know an enterprise at the same date: a later one at the lab would see the loan's future."""
    from models.sample import TaskError

    name, key = ticket["dataset"].get("as_of"), ticket["dataset"]["id"]
    if not name:
        return
    for party, table in (("bank", bank), ("lab", lab)):
        if name not in table.column_names:
            raise TaskError(
                "as_of_missing", f"the {party}'s rows lack the column {name!r}", f"{party} 的数据缺少列 {name!r}"
            )
    at_bank, at_lab = (
        dict(zip(table.column(key).to_pylist(), table.column(name).to_pylist(), strict=True)) for table in (bank, lab)
    )
    common = at_bank.keys() & at_lab.keys()
    if differing := sum(at_bank[enterprise] != at_lab[enterprise] for enterprise in common):
        raise TaskError(
            "as_of_differs",
            f"{name}: {differing} of {len(common)} common enterprises carry different dates in the two tables; draw "
            "the lab's features as of the bank's dates",
            f"{name}：{len(common)} 家共有企业中有 {differing} 家双方日期不同；请按银行的时点重新抽取公共信用特征",
        )


def _part_importance(part: dict[str, Any], sample: Any, joint: Any) -> list[dict[str, Any]]:
    """Importance as far as the bank can see it: its own columns by name, the lab's together."""
    import numpy as np

    from models import training
    from models.learners.scorecard import contributions

    if part["kind"] == "tree_ensemble":
        return training.tree_importance(part)
    rest = np.asarray(joint, dtype=np.float64) - part["intercept"]
    spreads: dict[tuple[str, str | None], float] = {}
    for feature in part["features"]:
        if feature["party"] == "bank":
            own = contributions(feature, sample.X[f"bank.{feature['input']}"])
            spreads["bank", feature["input"]] = float(np.std(own))
            rest = rest - own
    spreads["lab", None] = float(np.std(rest))
    return training.shares(spreads)


def _frame(leaks: list[dict[str, Any]], left_out: Any, cpu: dict[str, float]) -> dict[str, Any]:
    from models import training

    return {
        "format": "creditlab.evaluation/1",
        "leaks": leaks,
        "excluded_columns": [{"party": column.party, "column": column.name} for column in left_out],
        "fit_cpu_seconds": cpu,
        "versions": training.versions(),
    }


def _seed(ticket: dict[str, Any]) -> int:
    return int(ticket.get("evaluation", {}).get("seed", 0))


def _threads(task: dict[str, Any]) -> int:
    # One thread: at these sizes a second one spends more CPU on waiting than it saves in time.
    return int(task.get("threads", 1))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


if __name__ == "__main__":
    sys.exit(main())
