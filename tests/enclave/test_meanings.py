"""A lab's columns carry the catalogue's words where they are its features, and nothing else (R41)."""

from __future__ import annotations

from enclave.meanings import explained
from features.catalogue import load


def test_a_feature_is_explained_in_both_languages_and_a_foreign_column_is_left_alone() -> None:
    feature = next(iter(load().features))
    table = {
        "name": "t", "id": "uscc",
        "columns": [{"name": feature.name, "kind": "numeric"}, {"name": "own_column", "kind": "categorical"}],
    }  # fmt: skip
    known, foreign = explained(table)["columns"]
    assert (known["title_zh"], known["category"]) == (feature.zh, feature.category)
    assert known["meaning"] == feature.why_en
    assert foreign == {"name": "own_column", "kind": "categorical"}
    assert table["columns"][0] == {"name": feature.name, "kind": "numeric"}


def test_every_feature_of_the_catalogue_fits_what_the_control_plane_takes() -> None:
    from api.nodes.schemas import DatasetIn

    columns = [{"name": feature.name, "kind": "numeric"} for feature in load().features]
    DatasetIn.model_validate(explained({"name": "all", "id": "uscc", "columns": columns}))
