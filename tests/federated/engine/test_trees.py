"""The arithmetic of vertically split trees, both halves in one process, sums in clear."""

from __future__ import annotations

import dataclasses

import lightgbm
import numpy as np
import pytest
from creditlab_engine.encode import make_features, order_map
from creditlab_engine.trees import Choice, Grower, Owner, Params, Reader, Shape, margins
from sklearn.metrics import roc_auc_score

from .conftest import COLUMNS, make_tables

KINDS = {party: {column["name"]: column["kind"] for column in columns} for party, columns in COLUMNS.items()}


@dataclasses.dataclass
class World:
    columns: dict[str, dict[str, np.ndarray]]
    label: np.ndarray


@pytest.fixture(scope="module")
def world() -> World:
    tables = make_tables(2000, overlap=1.0)
    bank = tables["bank"].set_index("id")
    lab = tables["lab"].set_index("id").loc[bank.index]
    frames = {"bank": bank, "lab": lab}
    columns = {party: {name: frames[party][name].to_numpy() for name in kinds} for party, kinds in KINDS.items()}
    return World(columns, bank["y"].to_numpy())


def owners(world: World, params: Params) -> tuple[Owner, Owner]:
    made = []
    for party in ("bank", "lab"):
        features = make_features(world.columns[party], KINDS[party], params.bins)
        made.append(Owner(features, order_map(features, world.columns[party]), params, party))
    return made[0], made[1]


def grow(world: World, params: Params, base: float | None = None) -> tuple[Grower, Owner, Owner]:
    bank, lab = owners(world, params)
    grower = Grower(world.label, bank, "lab", params, base)
    for _ in range(params.rounds):
        gradients = grower.start_tree()
        grower.read_peer(lab.start_tree())
        for _level in range(params.max_depth):
            asked = grower.requests()
            allowed = lab.watch(asked)
            orders = grower.choose([lab.plain_sums(mask, gradients) for _, mask in asked], allowed)
            grower.apply({node: lab.split(node, choices) for node, choices in orders.items()})
        if not grower.finish_tree():
            break
    return grower, bank, lab


def test_the_root_split_is_the_best_there_is(world: World) -> None:
    params = Params(rounds=1, max_depth=1, min_leaf=20)
    _grower, bank, lab = grow(world, params)
    p = np.full(len(world.label), world.label.mean())
    g, h = p - world.label, p * (1 - p)

    def gain(left: np.ndarray) -> float:
        parts = [(g[m].sum(), h[m].sum()) for m in (left, ~left, np.ones_like(left))]
        a, b, c = (x * x / (y + params.l2) for x, y in parts)
        return float(a + b - c)

    best = 0.0
    for owner in (bank, lab):
        for position, feature in enumerate(owner.features):
            if feature.view != "ordered":
                continue
            codes = owner.codes[:, position]
            for code in range(feature.groups):
                for missing in (False, True):
                    left = (codes <= code) | (missing & (codes == feature.groups))
                    if 20 <= left.sum() <= len(left) - 20:
                        best = max(best, gain(left))
    (made,) = [tree for owner in (bank, lab) for tree in owner.trees[0].values()]
    assert made["gain"] >= best * (1 - 1e-5)


def test_predicting_the_fit_rows_gives_the_margins_of_training(world: World) -> None:
    grower, bank, lab = grow(world, Params(rounds=8))
    reaches = [
        bank.reach(index, tree.shape, bank.codes) & lab.reach(index, tree.shape, lab.codes)
        for index, tree in enumerate(grower.trees)
    ]
    assert all((reach.sum(axis=1) == 1).all() for reach in reaches)
    assert np.allclose(margins(grower.base_margin, grower.trees, reaches), grower.margin, atol=1e-12)


def test_no_leaf_holds_fewer_rows_than_asked(world: World) -> None:
    grower, _, _ = grow(world, Params(rounds=10, min_leaf=60))
    assert min(cover for tree in grower.trees for cover in tree.covers) >= 60


def test_the_order_of_the_sums_is_redrawn_and_changes_nothing(world: World) -> None:
    params = Params(rounds=6)
    np.random.seed(1212)  # the seed upstream shares between the parties
    first = grow(world, params)
    np.random.seed(1212)
    second = grow(world, params)
    assert np.array_equal(first[0].margin, second[0].margin)
    assert first[2].pick() != second[2].pick()


def test_each_tree_has_an_order_of_its_own(world: World) -> None:
    _, lab = owners(world, Params())
    orders = []
    for _ in range(3):
        lab.start_tree()
        orders.append(tuple(lab.pick()))
    assert len(set(orders)) == 3


def test_training_agrees_with_lightgbm_on_the_same_codes(world: World) -> None:
    grower, bank, lab = grow(world, Params(rounds=20, max_depth=4, learning_rate=0.15, l2=1.0))
    ordered = [
        np.where(owner.codes[:, k] >= feature.groups, np.nan, owner.codes[:, k].astype(float))
        for owner in (bank, lab)
        for k, feature in enumerate(owner.features)
    ]
    design = np.stack(ordered, axis=1)
    settings = {"objective": "binary", "num_leaves": 16, "max_depth": 4, "learning_rate": 0.15, "lambda_l2": 1.0}
    settings |= {"min_data_in_leaf": 20, "verbose": -1, "num_threads": 1}
    reference = lightgbm.train(settings, lightgbm.Dataset(design, world.label), 20).predict(design)
    ours, theirs = roc_auc_score(world.label, grower.margin), roc_auc_score(world.label, reference)
    assert abs(ours - theirs) < 0.01


def test_training_stops_when_nothing_can_be_learned() -> None:
    random = np.random.default_rng(0)
    world = World({"bank": {"amount": np.ones(400)}, "lab": {"headcount": np.ones(400)}}, random.integers(0, 2, 400))
    params = Params(rounds=5)
    bank, lab = (Owner([], np.zeros((400, 0), np.int8), params, party) for party in ("bank", "lab"))
    grower = Grower(world.label, bank, "lab", params)
    grower.start_tree()
    grower.read_peer(lab.start_tree())
    grower.choose([np.zeros((0, 2))], lab.watch(grower.requests()))
    grower.apply({})
    assert grower.finish_tree() is False and grower.trees[0].shape == [[0, "leaf", -1, -1]]


def test_candidates_that_leave_too_few_rows_are_not_chosen() -> None:
    reader = Reader("lab", [Shape("ordered", 3, False, False)], Params())
    sums = np.array([[9.0, 5.0], [4.0, 8.0]])
    total = np.array([0.0, 20.0])
    free = reader.best(sums, total, 100, np.array([True, True]))
    bound = reader.best(sums, total, 100, np.array([False, True]))
    assert (free[0].chosen, bound[0].chosen) == (0, 1)


def test_the_owner_takes_the_next_choice_when_the_first_leaves_too_few_rows(world: World) -> None:
    _, lab = owners(world, Params(min_leaf=20))
    shapes = lab.start_tree()
    everyone = np.ones(len(world.label), dtype=bool)
    lab.watch([(0, everyone)])
    subset = next(p for p, shape in enumerate(shapes) if shape.view == "subset")
    numeric = next(p for p, shape in enumerate(shapes) if shape.view == "ordered")
    nobody = Choice("lab", subset, [], False, 9.0)
    index, goes = lab.split(0, [nobody, Choice("lab", numeric, 3, False, 1.0)])
    assert index == 1 and 20 <= goes.sum() <= len(goes) - 20
    assert lab.split(0, [nobody])[0] == -1


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_share_of_columns_is_drawn_alike_on_every_run(world: World, share: float) -> None:
    drawn = []
    for _ in range(2):
        _, lab = owners(world, Params(colsample=share, seed=5))
        drawn.append([len(lab.start_tree()) for _ in range(3)])
    assert drawn[0] == drawn[1] and max(drawn[0]) <= round(share * len(lab.features))
