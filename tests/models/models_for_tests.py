"""Random but valid model documents, and rows for them."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

quick = settings(max_examples=40, deadline=None)  # two busy cores: no single example is held to a deadline

LEVELS = ["CA", "NY", "TX", "四川"]
INPUTS = {
    "bank": [{"name": "amount", "kind": "numeric"}, {"name": "term", "kind": "categorical"}],
    "lab": [{"name": "age", "kind": "numeric"}, {"name": "state", "kind": "categorical"}],
}
weights = st.floats(-3, 3).map(lambda value: round(value, 6))
numbers = st.floats(-100, 100, allow_nan=False)


def head(kind):
    return {
        "format": "creditlab.model/1",
        "kind": kind,
        "job_id": "j-0123456789ab",
        "ticket_sha256": "0" * 64,
        "mode": "zone",
        "recipe": {"name": "boosting", "params": {}},
        "inputs": INPUTS,
        "calibration": {"a": 0.9, "b": -0.1},
        "scale": {"score": 600, "odds": 19, "pdo": 50},
    }


@st.composite
def tree(draw, depth=3):
    nodes: list[dict] = []

    def grow(level):
        index = len(nodes)
        nodes.append({})
        if level == 0 or (draw(st.booleans()) and index):
            nodes[index] = {"leaf": draw(weights), "cover": draw(st.integers(1, 100))}
            return index
        party = draw(st.sampled_from(["bank", "lab"]))
        column = draw(st.sampled_from(INPUTS[party]))
        node = {"party": party, "input": column["name"], "missing": draw(st.sampled_from(["left", "right"]))}
        if column["kind"] == "numeric":
            node |= {"op": "lt", "value": draw(numbers)}
        else:
            node |= {"op": "in", "values": draw(st.lists(st.sampled_from(LEVELS), unique=True))}
        left, right = grow(level - 1), grow(level - 1)
        nodes[index] = node | {"left": left, "right": right, "gain": 1.0, "cover": 10}
        return index

    grow(depth)
    return {"nodes": nodes}


@st.composite
def tree_models(draw):
    return head("tree_ensemble") | {
        "base_margin": draw(weights),
        "trees": draw(st.lists(tree(), min_size=1, max_size=4)),
    }


@st.composite
def scorecards(draw):
    features = []
    for party in ("bank", "lab"):
        for column in INPUTS[party]:
            if column["kind"] == "numeric":
                edges = sorted(draw(st.lists(numbers, max_size=4, unique=True)))
                bins = {"edges": edges, "woe": [draw(weights) for _ in range(len(edges) + 1)]}
            else:
                bins = {"levels": {level: draw(weights) for level in LEVELS[:3]}, "other_woe": draw(weights)}
            bins["missing_woe"] = draw(weights)
            features.append(
                {
                    "party": party,
                    "input": column["name"],
                    "kind": column["kind"],
                    "coefficient": draw(weights),
                    "bins": bins,
                }
            )
    return head("scorecard") | {"intercept": draw(weights), "features": features}


rows = st.fixed_dictionaries(
    {
        "bank": st.fixed_dictionaries(
            {"amount": st.one_of(st.none(), numbers), "term": st.sampled_from([*LEVELS, "never", None])}
        ),
        "lab": st.fixed_dictionaries(
            {"age": st.one_of(st.none(), numbers), "state": st.sampled_from([*LEVELS, "never", None])}
        ),
    }
)
