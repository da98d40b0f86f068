"""The bars that a result file has to keep. Pure; the one place where their numbers stand."""

from __future__ import annotations

from typing import Any

ZONE_RATIO = 1.15  # CPU of zone training over plain LightGBM
SGB_FACTOR = 2.5  # stock CPU over ours
SGB_AUC = 0.001  # most that ours may differ from stock
LEDGER_SECONDS = {  # CPU of one thread: what a quiet machine takes
    "append 1,000,000 entries, sha256": 15.0,
    "append 1,000,000 entries, sm3": 15.0,
    "1,000 inclusion proofs at 1,000,000 entries": 1.0,  # 1 ms each
}


GATE_MB = 1024  # peak memory of the gate's process
GATE_SECONDS = {  # CPU of one thread
    "gate decision for a cohort of 1,000,000": 2.0,
    "the same at a round, one consent withdrawn": 2.0,
    "100,000 single checks among 1,000,000 consents": 2.0,  # 20 µs each
}
FEATURES_MB = 4096  # peak memory of any case of features_build
FEATURES_RATIO = {"full build": 4.0, "one day": 0.05}  # to plain DuckDB, to the full build
READ_CASE, READ_SECONDS = "single read, 99th percentile", 0.020  # wall
INGEST_SPEED = {"parquet, ingested": 200_000, "csv, ingested": 50_000}  # rows a second, wall
INGEST_ROWS = 1_000_000


LOAD_RATE = 200  # requests a second
CONTROL_SECONDS = {  # wall
    "a page of fifty of the list, anywhere in it, slowest": 0.1,
    "mixed requests, 99th percentile": 0.2,
}


def control_bar(case: str) -> str | None:
    return f"≤ {CONTROL_SECONDS[case] * 1000:g} ms" if case in CONTROL_SECONDS else None


def zone_bar() -> str:
    return f"≤ {ZONE_RATIO}"


def sgb_bar() -> str:
    return f"≤ {1 / SGB_FACTOR:.2f} (stock at least {SGB_FACTOR} times), AUC ± {SGB_AUC}"


def ledger_bar(case: str) -> str:
    return f"≤ {LEDGER_SECONDS[case]:g} s CPU"


def gate_bar(case: str) -> str:
    return f"≤ {GATE_SECONDS[case]:g} s CPU, ≤ {GATE_MB} MB"


def features_bar(case: str) -> str:
    if case == READ_CASE:
        return f"≤ {READ_SECONDS * 1000:g} ms"
    return f"≤ {FEATURES_RATIO[case]:g}, ≤ {FEATURES_MB} MB"


def ingest_bar(case: str) -> str:
    return f"≥ {INGEST_SPEED[case]:,} rows/s"


def broken(document: dict[str, Any]) -> list[str]:
    """What the document fails to keep, in words; empty when all measured bars hold."""
    out: list[str] = []
    for section in document["sections"]:
        rows = {row["case"]: row for row in section["rows"]}
        for row in section["rows"]:
            if "bar" not in row:
                continue
            if section["name"] == "ledger":
                allowed = LEDGER_SECONDS[row["case"]]
                if row["cpu_seconds"] > allowed:
                    out.append(f"ledger, {row['case']}: {row['cpu_seconds']:.2f} s, at most {allowed:g} s")
                continue
            if section["name"] == "consent_gate":
                allowed = GATE_SECONDS[row["case"]]
                if row["cpu_seconds"] > allowed:
                    out.append(f"consent_gate, {row['case']}: {row['cpu_seconds']:.2f} s, at most {allowed:g} s")
                if row["peak_rss_mb"] > GATE_MB:
                    out.append(f"consent_gate, {row['case']}: {row['peak_rss_mb']:.0f} MB, at most {GATE_MB} MB")
                continue
            if section["name"] == "control_plane":
                allowed = CONTROL_SECONDS[row["case"]]
                if row["wall_seconds"] > allowed:
                    out.append(f"control_plane, {row['case']}: {row['wall_seconds']:.3f} s, at most {allowed:g} s")
                continue
            if section["name"] == "features_build":
                out += [f"features_build, {row['case']}: {miss}" for miss in _features_misses(row)]
                continue
            if section["name"] == "features_ingest":
                speed = INGEST_ROWS / row["wall_seconds"]
                if speed < INGEST_SPEED[row["case"]]:
                    least = INGEST_SPEED[row["case"]]
                    out.append(f"features_ingest, {row['case']}: {speed:,.0f} rows/s, at least {least:,}")
                continue
            most = {"zone": ZONE_RATIO, "sgb": 1 / SGB_FACTOR}[section["name"]]
            if row["ratio"] > most:
                out.append(f"{section['name']}, {row['case']}: ratio {row['ratio']:.3f}, at most {most:.3f}")
            if section["name"] == "sgb":
                apart = abs(row["auc"] - rows[row["ratio_to"]]["auc"])
                if apart > SGB_AUC + 1e-9:
                    out.append(f"sgb, {row['case']}: AUC differs by {apart:.4f}, at most {SGB_AUC}")
    return out


def _features_misses(row: dict[str, Any]) -> list[str]:
    if row["case"] == READ_CASE:
        taken = row["wall_seconds"]
        return [] if taken <= READ_SECONDS else [f"{taken * 1000:.1f} ms, at most {READ_SECONDS * 1000:g} ms"]
    misses = []
    if row["ratio"] > FEATURES_RATIO[row["case"]]:
        misses.append(f"ratio {row['ratio']:.3f}, at most {FEATURES_RATIO[row['case']]:g}")
    if row["peak_rss_mb"] > FEATURES_MB:
        misses.append(f"{row['peak_rss_mb']:.0f} MB, at most {FEATURES_MB} MB")
    return misses
