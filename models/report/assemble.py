"""report.json: put together from what the nodes measured, and held to its published schema.

Owns the shape of the report and its validation. It computes no metric; statements come from `wording` and
`protocol`. Reports are plain JSON; nothing in one is about a single enterprise.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from models.report import protocol as protocol_text
from models.report.wording import calibration_statement, stacking_statement, uplift_statement

__all__ = ["FORMAT", "SCHEMA_PATH", "InvalidReport", "assemble", "read", "schema", "validate", "write"]

FORMAT = "creditlab.report/1"
SCHEMA_PATH = Path(__file__).parent / "report.schema.json"
Report = dict[str, Any]


class InvalidReport(ValueError):
    """A document that does not follow report.schema.json. The message names the field."""

    code = "report_invalid"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where, self.message = where, f"{where}: {problem}"
        self.message_zh = f"报告字段 {where} 不符合格式：{problem}"


@cache
def schema() -> dict[str, Any]:
    """The published JSON schema (draft 2020-12)."""
    return json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))


def assemble(
    *,
    ticket: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    cohort: Mapping[str, int],
    phases: Sequence[Mapping[str, Any]],
    egress: Mapping[str, int],
    model_sha256: str | None = None,
    release: Mapping[str, Any] | None = None,
    withdrawals: Mapping[str, Any] | None = None,
    engine_protocol: Mapping[str, Any] | None = None,
    versions: Mapping[str, Any] | None = None,
    finished_at: str | None = None,
) -> Report:
    """The validated report of one job. Raises InvalidReport.

    ticket: the ticket's body. evaluation: evaluation.json of the worker. cohort: at least bank_rows, lab_rows,
    consented (rows of the bank with a live consent); the rest comes from the evaluation. phases: [{name, party,
    seconds, cpu_seconds, peak_rss_mb}]. egress: bank_to_lab_bytes, lab_to_bank_bytes. engine_protocol: `protocol` of
    the engine's summary, federated mode only. finished_at: RFC 3339, now by default.
    """
    models = evaluation["models"]
    verdict, statement, statement_zh = uplift_statement(
        evaluation["uplift"], models["bank_only"]["auc"], models["joint"]["auc"]
    )
    stacked, stacked_zh = stacking_statement(evaluation["uplift_over_stacked"])
    level, level_zh = calibration_statement(evaluation["calibration_check"])
    dataset = ticket["dataset"]
    return validate(
        {
            "format": FORMAT,
            "job_id": ticket["job_id"],
            "project": ticket["project"],
            "purpose": ticket["purpose"],
            "dataset": {
                "name": dataset["name"],
                "title": dataset.get("title", dataset["name"]),
                "label": dataset["label"],
            },
            "parties": {
                party: {"institution": side["institution"], "columns": len(side["columns"])}
                for party, side in ticket["parties"].items()
            },
            "mode": ticket["mode"],
            "recipe": evaluation["recipe"],
            "finished_at": finished_at or dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "cohort": {**evaluation["cohort"], **cohort},
            "models": models,
            "uplift": {
                **evaluation["uplift"],
                "verdict": verdict,
                "statement": statement,
                "statement_zh": statement_zh,
            },
            "uplift_over_stacked": {
                **evaluation["uplift_over_stacked"],
                "statement": stacked,
                "statement_zh": stacked_zh,
            },
            "curves": evaluation["curves"],
            "importance": evaluation["importance"],
            "stability": evaluation["stability"],
            "calibration": {
                **evaluation["calibration"],
                **evaluation["calibration_check"],
                "statement": level,
                "statement_zh": level_zh,
            },
            "scale": evaluation["scale"],
            "leaks": evaluation["leaks"],
            "excluded_columns": evaluation["excluded_columns"],
            "protocol": protocol_text.describe(dict(ticket), dict(engine_protocol) if engine_protocol else None),
            "egress": dict(egress),
            "phases": [dict(phase) for phase in phases],
            "release": dict(release or {"state": "candidate", "sha256": model_sha256, "reviewers": []}),
            "withdrawals": dict(withdrawals or {"during_job": 0}),
            "versions": {**evaluation.get("versions", {}), **(versions or {})},
        }
    )


def validate(report: Any) -> Report:
    """The report itself when it follows the schema. Raises InvalidReport naming the first offending field."""
    import jsonschema  # only where reports are checked

    validator = jsonschema.Draft202012Validator(schema())
    error = jsonschema.exceptions.best_match(validator.iter_errors(report))
    if error is not None:
        raise InvalidReport(error.json_path.removeprefix("$.") or "report", error.message[:300])
    return report


def write(report: Report, path: Path) -> None:
    """Validate and write UTF-8 JSON. Raises InvalidReport before anything is written."""
    text = json.dumps(validate(report), ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Report:
    """A validated report from a file. Raises InvalidReport, also for text that is not JSON, and OSError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidReport(path.name, f"not a JSON document ({error})") from None
    return validate(document)
