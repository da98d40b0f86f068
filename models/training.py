"""Training and judging the four models of a report: bank only, lab score alone, stacked, joint.

Owns the protocol both modes share: learners see `fit` rows, `cal` rows set the calibration and the stacker, `test`
rows give every figure. Pure functions of a sample; it never reads or writes a file and returns aggregates.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.special import expit

from models import evaluation as ev
from models.formats import FORMAT, SCALE, content_sha256, validate
from models.learners import Column, Learner, make
from models.roles import CAL, FIT, TEST
from models.sample import Sample, TaskError
from models.scoring import importance

__all__ = [
    "MODELS",
    "Fitted",
    "document",
    "evaluate",
    "fit_models",
    "kept_columns",
    "shares",
    "tree_importance",
    "versions",
]

MODELS = ("bank_only", "lab_only", "stacked", "joint")


@dataclass
class Fitted:
    """Learners by model name and what each fit cost."""

    learners: dict[str, Learner] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)


def kept_columns(
    columns: Sequence[Column], leaks: Sequence[Mapping[str, Any]], policy: str
) -> tuple[list[Column], list[Column]]:
    """Columns to train on and columns left out: with policy "exclude" those judged near-certain leaks."""
    certain = {(leak["party"], leak["column"]) for leak in leaks if leak["severity"] == "exclude"}
    out = [column for column in columns if policy == "exclude" and (column.party, column.name) in certain]
    return [column for column in columns if column not in out], out


def fit_models(
    sample: Sample,
    columns: Sequence[Column],
    recipe: dict[str, Any],
    seed: int,
    threads: int,
    names: Sequence[str],
    each_round: Callable[[], None] | None = None,
) -> Fitted:
    """Fit the named models ("bank_only", "lab_only", "joint") on the sample's fit rows. Raises TaskError.

    `each_round` is called before every model and between boosting rounds; what it raises ends the fit.
    """
    fitted = Fitted()
    rows = sample.rows(FIT)
    X, y = sample.X.loc[rows], sample.y[rows]
    wanted = {"bank_only": ("bank",), "lab_only": ("lab",), "joint": ("bank", "lab")}
    for name in names:
        own = [column for column in columns if column.party in wanted[name]]
        if not own:
            raise TaskError(
                "no_columns",
                f"no column of the {wanted[name][0]} is left to train {name} on: the ticket lists none, or all look "
                "like leaks",
                f"{name} 没有可用于训练的列：任务书未列出，或全部疑似泄漏",
            )
        if each_round is not None:
            each_round()
        started = time.process_time()
        fitted.learners[name] = make(recipe, own, seed=seed, n_jobs=threads).fit(X, y, each_round)
        fitted.cpu_seconds[name] = round(time.process_time() - started, 4)
    return fitted


def document(
    learner: Learner, ticket: dict[str, Any], recipe: dict[str, Any], calibration: Mapping[str, float]
) -> dict[str, Any]:
    """The joint model as a validated creditlab.model/1 document."""
    head = {
        "format": FORMAT,
        "job_id": ticket["job_id"],
        "ticket_sha256": content_sha256(ticket),
        "mode": ticket["mode"],
        "recipe": recipe,
    }
    return validate({**head, **learner.body(), "calibration": dict(calibration), "scale": dict(SCALE)})


def evaluate(
    sample: Sample,
    margins: Mapping[str, np.ndarray],
    columns: Sequence[Column],
    ticket: dict[str, Any],
    recipe: dict[str, Any],
) -> dict[str, Any]:
    """Everything the report says about quality, from margins (rows,) of bank_only, lab_only and joint.

    Keys: cohort, models, uplift, uplift_over_stacked, curves, stability, calibration, calibration_check, stacker,
    scale, recipe. `columns` are those whose stability can be seen here. Raises TaskError.
    """
    sample.require_outcomes()
    settings = ticket.get("evaluation", {})
    seed, resamples = int(settings.get("seed", 0)), int(settings.get("bootstrap", 400))
    cal, test = sample.rows(CAL), sample.rows(TEST)
    y = sample.y
    stacker = ev.fit_stacker((margins["bank_only"][cal], margins["lab_only"][cal]), y[cal])
    margins = dict(margins)
    margins["stacked"] = stacker[0] * margins["bank_only"] + stacker[1] * margins["lab_only"] + stacker[2]
    platt = {name: ev.fit_platt(margins[name][cal], y[cal]) for name in MODELS if name != "stacked"}
    platt["stacked"] = {"a": 1.0, "b": 0.0}  # fitted on these very rows: already a probability
    pds = {name: expit(platt[name]["a"] * margins[name] + platt[name]["b"]) for name in MODELS}

    on_test = {name: margins[name][test] for name in MODELS}
    drawn = ev.bootstrap(y[test], on_test, resamples, seed)
    scores = _scores(margins["joint"], platt["joint"])
    return {
        "cohort": {
            "intersection": len(sample),
            "train": int((sample.rows(FIT) | cal).sum()),
            "fit": int(sample.rows(FIT).sum()),
            "calibration": int(cal.sum()),
            "test": int(test.sum()),
            "bad_rate_train": round(float(y[sample.rows(FIT) | cal].mean()), 3),
            "bad_rate_test": round(float(y[test].mean()), 3),
        },
        "models": {name: ev.metrics(y[test], on_test[name], pds[name][test], drawn[name]) for name in MODELS},
        "uplift": ev.uplift(y[test], on_test["bank_only"], on_test["joint"], (drawn["bank_only"], drawn["joint"])),
        "uplift_over_stacked": ev.uplift(
            y[test], on_test["stacked"], on_test["joint"], (drawn["stacked"], drawn["joint"])
        ),
        "curves": {
            name: {
                "roc": ev.roc_points(y[test], on_test[name]),
                "calibration": ev.calibration_curve(y[test], pds[name][test]),
            }
            | ({"distribution": ev.score_distribution(y[test], scores[test])} if name == "joint" else {})
            for name in MODELS
        },
        "stability": {
            "score": ev.score_stability(scores[sample.rows(FIT)], scores[test]),
            "features": _feature_stability(sample, columns, test),
        },
        "calibration": platt["joint"],
        "calibration_check": {
            "bads": _coarse(int(y[cal].sum())),
            "predicted": round(float(pds["joint"][test].mean()), 4),
            "observed": round(float(y[test].mean()), 4),
        },
        "stacker": {"bank": round(float(stacker[0]), 4), "lab": round(float(stacker[1]), 4)},
        "scale": dict(SCALE),
        "recipe": recipe,
    }


def tree_importance(model: dict[str, Any]) -> list[dict[str, Any]]:
    """[{party, feature, share}] of a tree document, largest first; feature null where it stays with its owner."""
    return shares(importance(model))


def shares(spreads: Mapping[tuple[str, str | None], float]) -> list[dict[str, Any]]:
    """[{party, feature, share}] of non-negative weights such as standard deviations of contributions, largest first."""
    total = sum(spreads.values())
    ranked = sorted(spreads.items(), key=lambda item: (-item[1], str(item[0])))
    return [
        {"party": party, "feature": feature, "share": round(spread / total, 4)}
        for (party, feature), spread in ranked
        if total > 0 and round(spread / total, 4) > 0
    ]


def versions() -> dict[str, str]:
    """Versions of what computed these figures."""
    names = ("lightgbm", "scikit-learn", "numpy", "pandas", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _scores(margin: np.ndarray, calibration: Mapping[str, float]) -> np.ndarray:
    factor = SCALE["pdo"] / np.log(2)
    offset = SCALE["score"] - factor * np.log(SCALE["odds"])
    return offset - factor * (calibration["a"] * margin + calibration["b"])


def _feature_stability(sample: Sample, columns: Sequence[Column], test: np.ndarray) -> list[dict[str, Any]]:
    fit = sample.rows(FIT)
    out = [
        {
            "party": column.party,
            "feature": column.name,
            **ev.feature_stability(sample.X.loc[fit, column.key], sample.X.loc[test, column.key], column.kind),
        }
        for column in columns
    ]
    return sorted(out, key=lambda row: -row["psi_stability"])


def _coarse(count: int) -> int:
    """Small counts leave rounded to 5."""
    return 5 * round(count / 5)
