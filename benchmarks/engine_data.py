"""Tables and tickets of the engine's benchmarks from a folder with a dataset.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

from tests.federated.engine import harness


def load(folder: Path) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """The contract and both parties' tables (CSV or Parquet)."""
    contract = tomllib.loads((folder / "dataset.toml").read_text())
    tables = {}
    for party in harness.PARTIES:
        path = folder / contract[party]["table"]
        tables[party] = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        tables[party][contract["id"]] = tables[party][contract["id"]].astype(str)
    return contract, tables


def columns(contract: dict[str, Any], tables: dict[str, pd.DataFrame]) -> dict[str, list[dict[str, str]]]:
    """The model columns of each party, as a ticket lists them."""
    out = {}
    for party in harness.PARTIES:
        section = contract[party]
        other = {contract["id"], contract.get("as_of"), *section.get("ignore", ())}
        other |= {section.get(key) for key in ("label", "split", "party")}
        names = [name for name in tables[party].columns if name not in other]
        out[party] = [
            {"name": name, "kind": "categorical" if name in section.get("categorical", ()) else "numeric"}
            for name in names
        ]
    return out


def ticket(
    contract: dict[str, Any], tables: dict[str, pd.DataFrame], recipe: dict[str, Any], **changes: Any
) -> dict[str, Any]:
    bank = contract["bank"]
    split = {"column": bank["split"], "train": bank["train"], "test": bank["test"]} if bank.get("split") else None
    return harness.ticket(
        columns(contract, tables), recipe, label=bank["label"], identifier=contract["id"], split=split, **changes
    )


def write(
    body: dict[str, Any], contract: dict[str, Any], tables: dict[str, pd.DataFrame], folder: Path
) -> dict[str, Path]:
    """Each party's input folder, with the declared columns only."""
    out = {}
    for party in harness.PARTIES:
        names = [contract["id"], *(column["name"] for column in body["parties"][party]["columns"])]
        if party == "bank":
            names += [contract["bank"][key] for key in ("label", "split") if contract["bank"].get(key)]
        out[party] = folder / f"in-{party}"
        out[party].mkdir(parents=True, exist_ok=True)
        tables[party][names].to_parquet(out[party] / "table.parquet", index=False)
    return out
