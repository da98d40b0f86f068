"""Growing vertically split trees: what each party computes on its own.

Owns the arithmetic of the boosting recipe: slots of cumulative sums, the search for the best split, rows going left,
leaf values. `Owner` is the half of a party that holds columns; `Grower` is the half of the label holder. Pure numpy
in clear; it never encrypts, sends or reads a file. `boosting.py` moves the messages between the halves.

Gradient statistics are multiples of 2**-SCALE_BITS, so that sums through the ciphertexts and in clear are the same
doubles and a tree does not depend on who added.

Gain of a split: G_l²/(H_l+λ) + G_r²/(H_r+λ) − G²/(H+λ); leaf: −η·G/(H+λ) (Chen & Guestrin 2016, eq. 5–7). For a
group of levels the levels are ordered by G/(H+s) and a prefix goes left (Fisher 1958), with extra λ, as in LightGBM.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .encode import ORDERED, Feature

SCALE_BITS = 20
LEVEL_SMOOTH = 10.0  # s above: a level of few rows is ordered towards the middle
LEVEL_L2 = 50.0  # extra λ for groups of levels, which fit noise more easily
MIN_GAIN = 1e-6


@dataclass(frozen=True)
class Params:
    """Parameters of the recipe that both halves need."""

    rounds: int = 30
    max_depth: int = 4
    learning_rate: float = 0.15
    bins: int = 20
    l2: float = 1.0
    colsample: float = 1.0
    min_leaf: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Shape:
    """What the label holder is told about one feature of a tree: how to read its slots."""

    view: str
    groups: int
    missing: bool
    tail: bool  # some rows lie beyond the regular groups (missing or unknown level)

    @property
    def slots(self) -> int:
        return self.groups - 1 + self.tail + self.missing


@dataclass
class Choice:
    """A split found: by whom, where, how good."""

    party: str
    position: int
    chosen: int | list[int]
    missing_left: bool
    gain: float


class Owner:
    """The half that owns columns: codes of the fit rows, and the splits it made.

    Each tree its cumulative sums leave in an order that only this party knows: thresholds of an ordered feature are
    permuted, levels of a category are relabelled, from operating-system entropy.
    """

    def __init__(self, features: list[Feature], codes: np.ndarray, params: Params, party: str) -> None:
        self.features, self.codes, self.params, self.party = features, codes, params, party
        self.trees: list[dict[int, dict[str, Any]]] = []
        self._random = secrets.SystemRandom()

    def start_tree(self) -> list[Shape]:
        """Choose this tree's columns and its secret order. Returns how to read the sums."""
        count = len(self.features)
        keep = np.arange(count)
        if self.params.colsample < 1.0 and count:
            # Which columns a tree may use is no secret: a shared seed keeps runs repeatable.
            seed = [self.params.seed, len(self.trees), len(self.party)]
            share = max(1, round(self.params.colsample * count))
            keep = np.sort(np.random.default_rng(seed).choice(count, share, replace=False))
        self.trees.append({})
        self._keep = keep
        self._relabel: list[np.ndarray] = []
        self._pick: list[int] = []
        self._order: list[np.ndarray] = []
        self._rows: dict[int, np.ndarray] = {}
        self._counts: dict[int, np.ndarray] = {}
        self.buckets = max((self.features[f].groups for f in keep), default=0) + 2
        shapes = []
        columns = []
        for position, f in enumerate(keep):
            feature = self.features[f]
            n = feature.groups
            relabel = np.arange(n + 2)
            order = np.arange(n - 1)
            if feature.view == ORDERED:
                self._random.shuffle(order)
            else:
                regular = list(range(n))
                self._random.shuffle(regular)
                relabel[:n] = regular
            tail = feature.seen_missing or feature.seen_unknown
            slots = [*order, *([n - 1] if tail else []), *([n] if feature.seen_missing else [])]
            self._pick += [position * self.buckets + int(slot) for slot in slots]
            self._relabel.append(relabel)
            self._order.append(order)
            columns.append(relabel[self.codes[:, f]].astype(np.int8))
            shapes.append(Shape(feature.view, n, feature.seen_missing, tail))
        rows = len(self.codes)
        self.map = np.ascontiguousarray(np.stack(columns, axis=1)) if columns else np.zeros((rows, 0), np.int8)
        self._list_candidates(shapes)
        return shapes

    def _list_candidates(self, shapes: list[Shape]) -> None:
        """The cells of cumulative counts that each candidate split puts left, in the order `Reader` scans them."""
        plain: list[int] = []
        gone: list[int] = []  # the cells of missing values to add, where missing values go left too
        whole: list[int] = []
        for position, (shape, order) in enumerate(zip(shapes, self._order)):
            if shape.view != ORDERED:
                continue
            start = position * self.buckets
            plain += [start + int(slot) for slot in order]
            if shape.missing:
                gone += [start + int(slot) for slot in order]
                whole.append(start + shape.groups - 1)
        missing = np.array([cell // self.buckets for cell in gone], dtype=np.int64)
        last = np.array([shape.groups for shape in shapes], dtype=np.int64)
        self._cells = np.array([*plain, *gone, *whole], dtype=np.int64)
        self._extra = np.full((len(self._cells), 2), -1, dtype=np.int64)
        if len(gone):
            at = slice(len(plain), len(plain) + len(gone))
            self._extra[at, 0] = missing * self.buckets + last[missing]
            self._extra[at, 1] = missing * self.buckets + last[missing] - 1

    def watch(self, asked: list[tuple[int, np.ndarray]]) -> dict[int, np.ndarray]:
        """Note who is in the asked nodes, and thereby in their siblings.

        Returns, for each of these nodes, which candidate splits leave at least `min_leaf` rows on both sides.
        """
        for node, mask in asked:
            self._note(node, mask, self._count(mask))
            if node:
                sibling, parent = (node + 1 if node % 2 else node - 1), (node - 1) // 2
                self._note(sibling, self._rows[parent] & ~mask, self._counts[parent] - self._counts[node])
        nodes = [n for node, _ in asked for n in ((node, node + 1 if node % 2 else node - 1) if node else (0,))]
        return {node: self._allowed(self._counts[node], int(self._rows[node].sum())) for node in nodes}

    def _note(self, node: int, mask: np.ndarray, counts: np.ndarray) -> None:
        self._rows[node], self._counts[node] = mask, counts

    def _count(self, mask: np.ndarray) -> np.ndarray:
        width = self.map.shape[1]
        index = (self.map[np.flatnonzero(mask)].astype(np.int64) + np.arange(width) * self.buckets).ravel()
        counts = np.bincount(index, minlength=width * self.buckets).reshape(width, self.buckets)
        return counts.cumsum(axis=1).ravel()

    def _allowed(self, counts: np.ndarray, rows: int) -> np.ndarray:
        left = counts[self._cells]
        with_missing = self._extra[:, 0] >= 0
        extra = counts[self._extra[with_missing, 0]] - counts[self._extra[with_missing, 1]]
        left[with_missing] += extra
        return (left >= self.params.min_leaf) & (rows - left >= self.params.min_leaf)

    def pick(self) -> list[int]:
        """Which of features × buckets cumulative sums leave this party, in which order."""
        return self._pick

    def plain_sums(self, mask: np.ndarray, gh: np.ndarray) -> np.ndarray:
        """The sums of `pick` in clear, for the party that knows the gradients: slots × 2."""
        rows = np.flatnonzero(mask)
        width = self.map.shape[1]
        if not width:
            return np.zeros((0, 2))
        index = (self.map[rows].astype(np.int64) + np.arange(width) * self.buckets).ravel()
        size = width * self.buckets
        sums = np.stack(
            [np.bincount(index, weights=np.repeat(gh[rows, k], width), minlength=size) for k in (0, 1)], axis=1
        )
        return sums.reshape(width, self.buckets, 2).cumsum(axis=1).reshape(size, 2)[self._pick]

    def split(self, node: int, choices: list[Choice]) -> tuple[int, np.ndarray]:
        """Carry out the first of `choices` that leaves at least `min_leaf` rows on both sides of a node.

        Returns its index (-1: none does) and, for each row of the node, whether it goes left.
        """
        where = np.flatnonzero(self._rows[node])
        for index, choice in enumerate(choices):
            feature, left, goes = self._divide(choice, where)
            count = int(goes.sum())
            if min(count, len(where) - count) >= self.params.min_leaf:
                self.trees[-1][node] = {"feature": feature, "left": left, "gain": choice.gain, "cover": len(where)}
                return index, goes
        return -1, np.zeros(0, dtype=bool)

    def _divide(self, choice: Choice, where: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        """Feature, codes going left, and who of the rows `where` goes left."""
        position, chosen = choice.position, choice.chosen
        f = int(self._keep[position])
        feature = self.features[f]
        left = np.zeros(feature.groups + 2, dtype=bool)
        if feature.view == ORDERED:
            # `chosen` is a slot; the slot after the thresholds means "everything that is not missing".
            upto = feature.groups - 1 if chosen == feature.groups - 1 else int(self._order[position][chosen])
            left[: upto + 1] = True
        else:
            back = np.argsort(self._relabel[position][: feature.groups])
            left[back[np.asarray(chosen, dtype=np.int64)]] = True
        left[feature.groups] = choice.missing_left
        if feature.other is not None and left[feature.other]:
            # A level outside the named ones goes right in the model file, so its group must go right here.
            left[: feature.groups + 1] = ~left[: feature.groups + 1]
        goes = left[self.codes[where, f]]
        if not feature.seen_missing and not feature.seen_unknown:
            left[feature.groups] = 2 * int(goes.sum()) > len(goes)  # nothing to learn from: follow the larger side
        return f, left, goes

    def drop_tree(self) -> None:
        self.trees.pop()

    def node(self, tree: int, node: int) -> dict[str, Any]:
        """One split as the model file writes it, without its children."""
        made = self.trees[tree][node]
        condition = self.features[made["feature"]].condition(made["left"])
        return {"party": self.party, **condition, "gain": made["gain"], "cover": made["cover"]}

    def goes_left(self, tree: int, node: int, codes: np.ndarray) -> np.ndarray:
        made = self.trees[tree][node]
        return made["left"][codes[:, made["feature"]]]

    def reach(self, tree: int, shape: list[list[Any]], codes: np.ndarray) -> np.ndarray:
        """Rows × leaves: which leaves a row can reach as far as this party's splits say."""
        leaves = [index for index, (_, owner, _, _) in enumerate(shape) if owner == "leaf"]
        alive = np.zeros((len(shape), len(codes)), dtype=bool)
        alive[0] = True
        for index, (node, owner, left, right) in enumerate(shape):
            if owner == "leaf":
                continue
            if owner == self.party:
                goes = self.goes_left(tree, node, codes)
                alive[left], alive[right] = alive[index] & goes, alive[index] & ~goes
            else:
                alive[left] = alive[right] = alive[index]
        return alive[leaves].T


class Reader:
    """Reads the slots of one owner's features and finds its best split of a node."""

    def __init__(self, party: str, shapes: list[Shape], params: Params) -> None:
        self.party, self.shapes, self.params = party, shapes, params
        starts = np.concatenate(([0], np.cumsum([shape.slots for shape in shapes]))).astype(int)
        self.tail = np.array([s + shape.groups - 1 if shape.tail else -1 for s, shape in zip(starts, shapes)], int)
        self.gone = np.array([s + shape.groups if shape.missing else -1 for s, shape in zip(starts, shapes)], int)
        self.subsets = [(p, int(starts[p])) for p, shape in enumerate(shapes) if shape.view != ORDERED]
        slot, owner, local = [], [], []
        for position, shape in enumerate(shapes):
            if shape.view == ORDERED:
                slot += range(starts[position], starts[position] + shape.groups - 1)
                owner += [position] * (shape.groups - 1)
                local += range(shape.groups - 1)
        self.slot, self.feature, self.local = (np.array(x, dtype=int) for x in (slot, owner, local))
        self.with_missing = np.array(
            [p for p, shape in enumerate(shapes) if shape.missing and shape.view == ORDERED], dtype=int
        )
        self.doubled = np.flatnonzero(np.isin(self.feature, self.with_missing))

    @property
    def candidates(self) -> int:
        return len(self.slot) + len(self.doubled) + len(self.with_missing)

    def best(self, sums: np.ndarray, total: np.ndarray, rows: int, allowed: np.ndarray) -> list[Choice]:
        """The best splits of a node with `total` (G, H) over `rows` rows: none, one, or a group of levels and,
        should that leave too few rows, the best other one."""
        if not self.shapes:
            return []
        regular = np.where((self.tail >= 0)[:, None], sums[self.tail], total)
        missing = np.where((self.gone >= 0)[:, None], sums[self.gone] - regular, 0.0)
        left = np.concatenate(
            [
                sums[self.slot],
                sums[self.slot[self.doubled]] + missing[self.feature[self.doubled]],
                regular[self.with_missing],
            ]
        )
        best: Choice | None = None
        if len(left):
            gains = np.where(allowed, self._gains(left, total, self.params.l2), -np.inf)
            at = int(np.argmax(gains))
            if gains[at] > MIN_GAIN:
                best = self._ordered(at, float(gains[at]))
        group: Choice | None = None
        for position, start in self.subsets:
            found = self._subset(position, start, sums, total, rows, regular, missing)
            if found and found.gain > max(best.gain if best else 0.0, group.gain if group else 0.0):
                group = found
        return [choice for choice in (group, best) if choice]

    def _gains(self, left: np.ndarray, total: np.ndarray, l2: float) -> np.ndarray:
        right = total - left
        gain: np.ndarray = (
            left[:, 0] ** 2 / (left[:, 1] + l2 + 1e-12)
            + right[:, 0] ** 2 / (right[:, 1] + l2 + 1e-12)
            - total[0] ** 2 / (total[1] + l2 + 1e-12)
        )
        return gain

    def _ordered(self, at: int, gain: float) -> Choice:
        first, second = len(self.slot), len(self.doubled)
        if at < first:
            return Choice(self.party, int(self.feature[at]), int(self.local[at]), False, gain)
        at -= first
        if at < second:
            index = self.doubled[at]
            return Choice(self.party, int(self.feature[index]), int(self.local[index]), True, gain)
        position = int(self.with_missing[at - second])
        return Choice(self.party, position, self.shapes[position].groups - 1, False, gain)

    def _subset(
        self,
        position: int,
        start: int,
        sums: np.ndarray,
        total: np.ndarray,
        rows: int,
        regular: np.ndarray,
        missing: np.ndarray,
    ) -> Choice | None:
        shape = self.shapes[position]
        cumulative = np.concatenate((sums[start : start + shape.groups - 1], regular[position : position + 1]))
        levels = np.diff(cumulative, axis=0, prepend=np.zeros((1, 2)))
        if shape.missing:
            levels = np.concatenate((levels, missing[position : position + 1]))
        there = np.flatnonzero(levels[:, 1] > 0)
        if len(there) < 2:
            return None
        ratio = levels[there, 0] / (levels[there, 1] + LEVEL_SMOOTH)
        order = there[np.argsort(ratio, kind="stable")]
        left = np.cumsum(levels[order], axis=0)[:-1]
        # The rows of a group are not known, only estimated from its share of H; its owner counts before it splits.
        least = self.params.min_leaf / rows * total[1]
        enough = (left[:, 1] >= least) & (total[1] - left[:, 1] >= least)
        gains = np.where(enough, self._gains(left, total, self.params.l2 + LEVEL_L2), -np.inf)
        at = int(np.argmax(gains))
        if not gains[at] > MIN_GAIN:
            return None
        chosen = [int(level) for level in order[: at + 1]]
        missing_left = shape.groups in chosen
        return Choice(self.party, position, [c for c in chosen if c < shape.groups], missing_left, float(gains[at]))


@dataclass
class _Node:
    mask: np.ndarray
    rows: int
    total: np.ndarray
    own: np.ndarray | None = None  # sums of the label holder's features
    other: np.ndarray | None = None  # sums of the peer's features
    mine: list[Choice] = field(default_factory=list)  # own splits, best first
    theirs: list[Choice] = field(default_factory=list)  # the peer's splits that beat them, best first


@dataclass
class Tree:
    """A finished tree at the label holder: `shape` rows are [id, owner or "leaf", left, right], parents first."""

    shape: list[list[Any]]
    leaves: list[float]  # in the order of the leaf rows of `shape`
    covers: list[int] = field(default_factory=list)  # of the leaf rows


class Grower:
    """The label holder's half. One level of a tree is: `requests` → sums → `choose` → `apply`."""

    def __init__(
        self, label: np.ndarray, own: Owner, peer: str, params: Params, base_margin: float | None = None
    ) -> None:
        rate = float(label.mean())
        self.base_margin = float(np.log(rate / (1 - rate))) if base_margin is None else base_margin
        self.label, self.own, self.peer, self.params = label.astype(np.float64), own, peer, params
        self.margin = np.full(len(label), self.base_margin)
        self.trees: list[Tree] = []

    def start_tree(self) -> np.ndarray:
        """Gradients and Hessians of the current margins, rows × 2, on the fixed-point grid."""
        probability = 1.0 / (1.0 + np.exp(-self.margin))
        gh = np.stack([probability - self.label, np.maximum(probability * (1 - probability), 2.0**-SCALE_BITS)], axis=1)
        self.gh = np.round(gh * 2**SCALE_BITS) / 2**SCALE_BITS
        everyone = np.ones(len(self.label), dtype=bool)
        root = _Node(everyone, len(self.label), self.gh.sum(axis=0))
        self._nodes = {0: root}
        self._active: list[int] = [0]
        self._asked: list[int] = []
        self._finished: dict[int, str] = {}
        self._own_reader = Reader(self.own.party, self.own.start_tree(), self.params)
        self._peer_reader: Reader | None = None
        return self.gh

    def read_peer(self, shapes: list[Shape]) -> None:
        self._peer_reader = Reader(self.peer, shapes, self.params)

    def requests(self) -> list[tuple[int, np.ndarray]]:
        """Nodes whose sums are needed, with their rows: the root, then the smaller child of each pair."""
        self._asked = []
        for node in self._active:
            if node == 0:
                self._asked.append(0)
            elif node % 2:  # a left child stands for its pair
                pair = (node, node + 1)
                if any(self._nodes[n].rows >= 2 * self.params.min_leaf for n in pair):
                    self._asked.append(min(pair, key=lambda n: self._nodes[n].rows))
        return [(node, self._nodes[node].mask) for node in self._asked]

    def choose(self, sums: list[np.ndarray], allowed: dict[int, np.ndarray]) -> dict[int, list[Choice]]:
        """Best splits of every active node, from the peer's decrypted sums and its word on which candidates leave
        enough rows. Returns, for the nodes where the peer's splits are better, these splits, best first."""
        own_allowed = self.own.watch([(node, self._nodes[node].mask) for node in self._asked])
        for node, other in zip(self._asked, sums):
            self._nodes[node].own = self.own.plain_sums(self._nodes[node].mask, self.gh)
            self._nodes[node].other = other
            if node:
                sibling = node + 1 if node % 2 else node - 1
                parent = self._nodes[(node - 1) // 2]
                # Subtraction after decryption: 1 ns a cell here, 240 µs on ciphertexts.
                self._nodes[sibling].own = parent.own - self._nodes[node].own  # type: ignore[operator]
                self._nodes[sibling].other = parent.other - other  # type: ignore[operator]
        orders: dict[int, list[Choice]] = {}
        for node in self._active:
            state = self._nodes[node]
            if state.own is None or state.rows < 2 * self.params.min_leaf:
                continue
            state.mine = self._own_reader.best(state.own, state.total, state.rows, own_allowed[node])
            if self._peer_reader is None or state.other is None:
                continue
            threshold = state.mine[0].gain if state.mine else 0.0
            found = self._peer_reader.best(state.other, state.total, state.rows, allowed[node])
            state.theirs = [choice for choice in found if choice.gain > threshold]
            if state.theirs:
                orders[node] = state.theirs
        return orders

    def apply(self, answers: dict[int, tuple[int, np.ndarray]]) -> None:
        """Split the active nodes. `answers`: for the peer's orders, the split it made (-1: none leaves enough rows)
        and who of the node's rows goes left."""
        following = []
        for node in self._active:
            state = self._nodes[node]
            index, goes = answers.get(node, (-1, np.zeros(0, dtype=bool)))
            party = self.peer
            if index < 0 and state.mine:
                index, goes = self.own.split(node, state.mine)
                party = self.own.party
            if index < 0:
                continue  # a leaf
            where = np.flatnonzero(state.mask)
            for child, rows in ((2 * node + 1, where[goes]), (2 * node + 2, where[~goes])):
                mask = np.zeros_like(state.mask)
                mask[rows] = True
                self._nodes[child] = _Node(mask, len(rows), self.gh[rows].sum(axis=0))
            self._finished[node] = party
            following += [2 * node + 1, 2 * node + 2]
        for node in self._active:
            # Parents of the next level keep their sums for one subtraction; nothing older is needed.
            if node:
                parent = self._nodes[(node - 1) // 2]
                parent.own = parent.other = None
        self._active = following

    def candidates(self) -> int:
        """How many candidate splits the peer speaks of when it says which leave enough rows."""
        return self._peer_reader.candidates if self._peer_reader else 0

    def rows(self, node: int) -> int:
        return self._nodes[node].rows

    def finish_tree(self) -> bool:
        """Leaf values and new margins. False when the tree did not grow: training is over, the tree is dropped."""
        grew = 0 in self._finished
        if not grew and self.trees:
            self.own.drop_tree()
            return False
        shape: list[list[Any]] = []
        leaves, covers = [], []
        place: dict[int, int] = {}
        queue = [0]
        for node in queue:
            place[node] = len(shape)
            if node in self._finished:
                shape.append([node, self._finished[node], 2 * node + 1, 2 * node + 2])
                queue += [2 * node + 1, 2 * node + 2]
                continue
            state = self._nodes[node]
            value = -self.params.learning_rate * state.total[0] / (state.total[1] + self.params.l2 + 1e-12)
            self.margin[state.mask] += value
            leaves.append(float(value))
            covers.append(state.rows)
            shape.append([node, "leaf", -1, -1])
        for row in shape:
            if row[1] != "leaf":
                row[2], row[3] = place[row[2]], place[row[3]]
        self.trees.append(Tree(shape, leaves, covers))
        self._nodes = {}
        return grew


def margins(base: float, trees: list[Tree], reaches: list[np.ndarray]) -> np.ndarray:
    """Margins of rows from the leaves each can reach (rows × leaves per tree, exactly one True a row)."""
    out = np.full(len(reaches[0]), base)
    for tree, reach in zip(trees, reaches):
        out += reach @ np.asarray(tree.leaves)
    return out
