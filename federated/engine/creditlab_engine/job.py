"""One federated job in the SecretFlow process: the phases in order, on this party's rows.

Owns the order psi → screen → fit_lab → fit_joint → predict, the dropping of rows whose consent has ended before each
of them, and the outputs. What a recipe does is in `boosting.py` and `logistic.py`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from models.channel import Channel, ConsentChanged
from models.formats import canonical, validate
from models.recipes import RecipeError, resolve
from models.roles import CAL, FIT, TEST, UNUSED, roles

from . import boosting, facts, logistic, parts, protocol, screen
from .cipher import Cipher
from .devices import reveal
from .encode import Feature, make_features, order_map
from .errors import EngineError
from .intersect import intersect
from .session import Session
from .shares import Spu
from .table import Table, load
from .trees import Grower, Owner, Params

_ROLES = (FIT, CAL, TEST, UNUSED)
MIN_FIT_ROWS = 50


class Job:
    def __init__(self, channel: Channel, task: dict[str, Any], inputs: str, offset: int) -> None:
        self.channel, self.task, self.inputs, self.offset = channel, task, inputs, offset
        self.ticket, self.party = task["ticket"], task["party"]
        protocol.check(self.ticket["protocol"])
        try:
            self.recipe = resolve(self.ticket["recipe"], "federated")
        except RecipeError as error:
            raise EngineError("recipe_refused", error.message, error.message_zh) from None
        self.spu: Spu | None = None
        self.session: Session
        self.cipher: Cipher
        self.table: Table
        self.role: np.ndarray

    def run(self) -> None:
        with self.channel.phase("psi") as phase:
            common = self._align(phase.exclude)
        with self.channel.phase("screen") as phase:
            self._begin(phase.exclude)
            self._screen()
        models = {}
        for name in ("fit_lab", "fit_joint"):
            models[name] = self._settled(name)
        with self.channel.phase("predict") as phase:
            self._begin(phase.exclude)
            margins = {name: self._predict(models[name]) for name in ("fit_joint", "fit_lab")}
            self._write(margins, models["fit_joint"])
            if self.spu is not None:
                self.spu.close()
            self.session.close()
        self.channel.done(
            {
                "intersection": common,
                "rows": len(self.table.ids),
                "versions": facts.versions(),
                "protocol": facts.protocol(self.ticket),
            }
        )

    # ---- phases

    def _settled(self, name: str) -> Any:
        """A fit, begun anew from the gate whenever a consent in use ends between its rounds."""
        while True:
            with self.channel.phase(name) as phase:
                self._begin(phase.exclude)
                try:
                    return self._fit(name)
                except ConsentChanged:
                    continue

    def _round(self, done: int, total: int, unit: str) -> None:
        """Between two rounds, at the same place in both parties. Raises ConsentChanged in both when either has news."""
        self.channel.progress(done, total, unit)
        if any(self.session.both(self.channel.changed())):
            raise ConsentChanged(unit)

    def _align(self, exclude: Collection[str]) -> int:
        """Session, intersection, order of rows and roles. Returns the size of the intersection."""
        problem: EngineError | None = None
        try:
            excluded = self.task.get("exclude_columns", {}).get(self.party, ())
            self.table = load(self.inputs, self.ticket, self.party, excluded).without(exclude)
            if not len(self.table.ids):
                problem = EngineError("empty_intersection")
        except EngineError as error:
            problem = error
        self.session = Session(self.party, self.ticket, self.offset)
        self.session.agree(problem)
        self.cipher = Cipher(self.session)
        common = intersect(self.session, list(self.table.ids))
        self.table = self.table.aligned(common)
        self.session.same_cohort(self.table.ids)
        if self.table.as_of is not None:
            self.session.same_dates(self.table.as_of)
        self.role = self._roles()
        return len(common)

    def _roles(self) -> np.ndarray:
        """The bank knows the split; it tells the lab the role of each row, and nothing else about it."""

        def make() -> np.ndarray:
            names = roles(list(self.table.ids), self.table.split, self.ticket)
            return np.array([_ROLES.index(name) for name in names], dtype=np.int8)

        told = self.session.bank(make)()
        return np.asarray(reveal(told))

    def _begin(self, exclude: Collection[str]) -> None:
        """Drop rows whose consent has ended, then make sure that both parties mean the same cohort."""
        keep = ~np.isin(self.table.ids, np.array(sorted(exclude), dtype=object))
        self.table, self.role = self.table.take(keep), self.role[keep]
        self.session.same_cohort(self.table.ids)
        self.fit = self.role == _ROLES.index(FIT)
        problem: EngineError | None = None
        if int(self.fit.sum()) < MIN_FIT_ROWS:
            problem = EngineError("too_few_rows", f"{int(self.fit.sum())} rows, at least {MIN_FIT_ROWS}")
        elif self.table.label is not None and len(np.unique(self.table.label[self.fit])) < 2:
            problem = EngineError("label_constant")
        self.session.agree(problem)

    def _screen(self) -> None:
        lab, rows = self.party == "lab", self.table.take(self.fit)
        binned = screen.bin_columns(rows.columns, rows.kinds, screen.SCREEN_BINS) if lab else None
        _, late = self.session.both(screen.late_dates(rows.columns, rows.dated) if lab else {})
        counts = screen.label_counts(self.session, self.cipher, rows.label, binned)
        certain: list[str] = []
        if counts is not None:
            found = screen.report(counts, late)
            certain = screen.near_certain(found)
            self.channel.output("screen.json", json.dumps(found).encode())
        if self.ticket["leaks"] != "exclude":
            return
        certain, _ = self.session.both(certain)
        if lab:
            self.table = self.table.dropping(certain)
        self.session.agree(EngineError("no_columns", "lab") if lab and not self.table.columns else None)

    def _fit(self, name: str) -> Any:
        joint = name == "fit_joint"
        if self.recipe["name"] == "boosting":
            return self._fit_boosting(joint)
        rows = self.table.take(self.fit)
        if self.spu is None:
            self.spu = Spu(self.session)  # one for the job: its port cannot be taken twice
        return logistic.fit(
            self.session,
            self.cipher,
            self.spu,
            rows.columns,
            rows.kinds,
            rows.label,
            self.recipe["params"],
            joint,
            lambda done, total: self._round(done, total, "step"),
        )

    def _fit_boosting(self, joint: bool) -> tuple[boosting.Ensemble, list[Feature]]:
        given = self.recipe["params"]
        seed = int(self.ticket.get("evaluation", {}).get("seed", 0))
        params = Params(**{key: given[key] for key in Params.__dataclass_fields__ if key in given}, seed=seed)
        rows = self.table.take(self.fit)
        features = make_features(rows.columns, rows.kinds, params.bins) if joint or self.party == "lab" else []
        self.session.agree(EngineError("no_columns", self.party) if self.party == "lab" and not features else None)
        owner = Owner(features, order_map(features, rows.columns), params, self.party)
        grower = Grower(rows.label, owner, "lab", params) if rows.label is not None else None
        model = boosting.fit(
            self.session, self.cipher, owner, grower, lambda done, total: self._round(done, total, "tree")
        )
        return model, features

    def _predict(self, model: Any) -> np.ndarray | None:
        if isinstance(model, logistic.Half):
            return logistic.predict(self.session, model, self.table.columns)
        ensemble, features = model
        return boosting.predict(self.session, ensemble, order_map(features, self.table.columns))

    def _write(self, margins: dict[str, np.ndarray | None], joint: Any) -> None:
        kind = "scorecard" if isinstance(joint, logistic.Half) else "tree_ensemble"
        head = parts.header(self.ticket, self.recipe, self.party, self.table.kinds, kind)
        part = parts.card_part(head, joint) if kind == "scorecard" else parts.tree_part(head, joint[0])
        self.channel.output("model_part.json", canonical(validate(part)))
        if self.table.label is None:
            return
        scores = pa.table(
            {
                "id": pa.array(list(self.table.ids), pa.string()),
                "role": pa.array([_ROLES[code] for code in self.role], pa.string()),
                "y": pa.array(self.table.label, pa.int8()),
                "joint_margin": pa.array(margins["fit_joint"], pa.float64()),
                "lab_margin": pa.array(margins["fit_lab"], pa.float64()),
            }
        )
        buffer = io.BytesIO()
        parquet.write_table(scores, buffer)
        self.channel.output("scores.parquet", buffer.getvalue())
