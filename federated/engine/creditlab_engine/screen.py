"""How strongly each of the lab's columns goes with the bank's label, alone: the screen before training.

Owns the exchange: labels of the fit rows encrypted at the bank, added up by bin at the lab, decrypted at the bank. The
bank learns goods and bads per bin of each column (bins without their borders or levels); the lab learns nothing but,
where the ticket excludes leaks, the names of its columns that are near-certain ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.binning import assign, auc_from_counts, bin_count, fit_recipe_bins, iv
from models.leak_rules import EXCLUDE, judge_screened, late_share

from .cipher import Cipher
from .session import Session

SCREEN_BINS = {"max_bins": 10, "min_share": 0.02, "max_levels": 20, "level_share": 0.01}


@dataclass
class Binned:
    """One party's columns as bins: name → bins (models.binning), and codes, rows × columns."""

    bins: dict[str, dict[str, Any]]
    codes: np.ndarray

    @property
    def sizes(self) -> list[int]:
        return [bin_count(bins) for bins in self.bins.values()]


def bin_columns(columns: Mapping[str, np.ndarray], kinds: Mapping[str, str], params: Mapping[str, Any]) -> Binned:
    """Bins of each column and the codes of the same rows. `params` as in the `logistic` recipe."""
    bins = {name: fit_recipe_bins(values, kinds[name], dict(params)) for name, values in columns.items()}
    codes = [assign(bins[name], values).astype(np.int8) for name, values in columns.items()]
    return Binned(bins, np.ascontiguousarray(np.stack(codes, axis=1)))


def label_counts(
    session: Session, cipher: Cipher, label: np.ndarray | None, binned: Binned | None
) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    """Goods and bads per bin of each of the lab's columns: at the bank; None at the lab.

    `label` (0/1 of the fit rows) is the bank's argument, `binned` (same rows) the lab's.
    """

    def encrypt() -> Any:
        assert label is not None
        bad = label.astype(np.float64)
        return cipher.encrypt(np.stack([1.0 - bad, bad], axis=1))

    def add_up(ciphertexts: Any) -> tuple[list[tuple[str, int]], list[Any]]:
        assert binned is not None
        sizes = binned.sizes
        buckets = max(sizes)
        pick = [column * buckets + code for column, size in enumerate(sizes) for code in range(size)]
        everyone = np.ones(len(binned.codes), dtype=np.int8)
        sums = cipher.sums(ciphertexts, [everyone], binned.codes, buckets, pick, cumulative=False)
        return list(zip(binned.bins, sizes)), sums

    def open_sums(answer: tuple[list[tuple[str, int]], list[Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        layout, sums = answer
        counts = np.rint(cipher.decrypt(sums[0]))
        out, start = {}, 0
        for name, size in layout:
            out[str(name)] = counts[start : start + size, 0], counts[start : start + size, 1]
            start += size
        return out

    answer = session.lab(add_up)(session.bank(encrypt)().to(session.lab))
    return session.keep(session.bank, session.bank(open_sums)(answer.to(session.bank)))


def late_dates(columns: Mapping[str, np.ndarray], dated: Collection[str]) -> dict[str, float]:
    """Share of dates after as_of in each of the lab's columns of dates; no label is needed for it."""
    return {name: round(late_share(columns[name]), 4) for name in columns if name in dated}


def report(counts: Mapping[str, tuple[np.ndarray, np.ndarray]], late: Mapping[str, float]) -> list[dict[str, Any]]:
    """The screen's rows: univariate AUC, information value, the AUC of being missing, the share of late dates."""
    rows = []
    for name, (goods, bads) in counts.items():
        present = np.array([goods[:-1].sum(), goods[-1]]), np.array([bads[:-1].sum(), bads[-1]])
        rows.append(
            {
                "party": "lab",
                "column": name,
                "auc": round(auc_from_counts(goods, bads), 6),
                "iv": round(iv(goods, bads), 6),
                "missing_auc": round(auc_from_counts(*present), 6),
                "late_dates": late.get(name, 0.0),
            }
        )
    return rows


def near_certain(rows: list[dict[str, Any]]) -> list[str]:
    """Columns of a screen report that no model may learn from: they as good as state the outcome."""
    judged = [judge_screened(row) for row in rows]
    return [record["column"] for record in judged if record and record["severity"] == EXCLUDE]
