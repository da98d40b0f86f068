"""The same features by more than one machine: Daft on Ray parts the enterprises, each part goes through `build`.

A part is a run of enterprises with their dates, and is computed by the very SQL of one machine: there is no second
dialect in which a value could differ. With the copy by enterprise (see `features.store.clustered`) a part of one date
reads the rows of its own enterprises and no others. Owns the parting. Needs the extra `scale` and a store that all
machines see under one path; which runner Daft uses is the caller's to set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import daft
import pyarrow as pa
from daft import DataType, col

from features.catalogue import load
from features.catalogue.model import Catalogue
from features.derive.build import build
from features.derive.compiler import plans
from features.store import EventStore
from features.store.manifest import Snapshot

#: Pairs of enterprise and date in one part: about 300 MB of result and work.
PAIRS = 50_000
_MEMORY = "1GB"
_PAIR = pa.struct([("uscc", pa.string()), ("as_of", pa.date32())])


class WorkerDiffers(RuntimeError):
    """A worker has another catalogue, or sees another store, than the caller."""


def build_apart(
    snapshot: Snapshot,
    catalogue: Catalogue,
    spine: pa.Table,
    names: Collection[str] | None = None,
    *,
    pairs: int | None = None,
) -> daft.DataFrame:
    """What `build` gives for the same arguments, as a frame that is yet to be computed, its rows in any order.

    `pairs`: of enterprise and date, in one part; PAIRS unless told. Raises UnknownName, ExpressionRefused here;
    a worker raises WorkerDiffers.
    """
    wanted = plans(catalogue, names)
    for plan in wanted:
        _ = plan.expressions  # refused here rather than by a worker
    features = [feature for plan in wanted for feature in plan.features]
    told = pa.schema([*_PAIR, *((one.name, pa.string() if one.kind == "text" else pa.float64()) for one in features)])
    parts = _parts(spine, pairs or PAIRS)
    compute = _compute(str(snapshot.root), snapshot.seq, catalogue.version, [one.name for one in features], told)
    frame = daft.from_arrow(parts)
    if daft.get_or_infer_runner_type() == "ray":
        frame = frame.into_partitions(len(parts))  # so that the parts go to all workers
    answers = frame.select(compute(col("pairs")).alias("answer")).explode(col("answer"))
    return answers.select(*(col("answer").get(name).alias(name) for name in told.names))


def _parts(spine: pa.Table, pairs: int) -> pa.Table:
    """One row for each part, a list of its pairs; enterprises side by side, so that each is in one part or two."""
    kept = spine.select(["uscc", "as_of"]).group_by(["uscc", "as_of"]).aggregate([]).sort_by("uscc")
    rows = kept.cast(pa.schema([*_PAIR])).to_struct_array()
    items = pa.concat_arrays(rows.chunks) if rows.num_chunks else pa.array([], _PAIR)
    bounds = [*range(0, len(items), pairs), len(items)]
    return pa.table({"pairs": pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), items)})


def _compute(root: str, seq: int, version: str, names: list[str], told: pa.Schema) -> Callable[..., daft.Expression]:
    """The function of a worker: the features of the pairs of one part."""
    answer = pa.large_list(pa.struct(told))

    @daft.func.batch(return_dtype=DataType.from_arrow_type(answer), batch_size=1)
    def compute(pairs: daft.Series) -> pa.Array:
        catalogue = load()
        snapshot = EventStore(Path(root), catalogue).snapshot()
        if (catalogue.version, snapshot.seq) != (version, seq):
            raise WorkerDiffers(
                f"this worker has catalogue {catalogue.version} and commit {snapshot.seq} of the store, the caller "
                f"{version} and {seq}; install one version everywhere and share the store under one path"
            )
        found = []
        for part in pairs.to_arrow():
            spine = pa.Table.from_struct_array(pa.array(part.as_py(), _PAIR))
            table = build(snapshot, catalogue, spine, names, threads=1, memory=_MEMORY)
            found.append(table.cast(told).combine_chunks().to_struct_array().combine_chunks())
        ends = [sum(len(one) for one in found[:place]) for place in range(len(found) + 1)]
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.concat_arrays(found)).cast(answer)

    return compute
