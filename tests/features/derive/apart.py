"""A Ray cluster of two workers on this machine, and the command on it, in a process of its own.

`python -m tests.features.derive.apart FOLDER`: reads `spine.parquet` and `store`, writes `features` and `nodes.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

# before ray is imported: nothing is told to anybody, and the workers' imports are those of this process
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)) or "."}

import daft
import ray
from ray.cluster_utils import Cluster

from features.derive import scale
from features.derive.cli import app


@daft.func.batch(return_dtype=daft.DataType.string(), batch_size=1)
def where(numbers: daft.Series) -> list[str]:
    return [ray.get_runtime_context().get_node_id() for _ in numbers.to_pylist()]


def main(folder: Path) -> None:
    scale.PAIRS = 20
    with TemporaryDirectory(prefix="ray") as place:
        worker = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
        os.environ["RAY_TMPDIR"] = place  # all that Ray writes is gone afterwards
        cluster = Cluster(initialize_head=True, head_node_args=worker)
        try:
            cluster.add_node(**worker)
            ray.init(address=cluster.address, log_to_driver=False)
            arguments = [str(folder / "spine.parquet"), "--store", str(folder / "store")]
            arguments += ["--out", str(folder / "features"), "--ray", cluster.address]
            app(["table", *arguments], standalone_mode=False)
            frame = daft.from_pydict({"number": list(range(8))}).into_partitions(8)
            nodes = frame.select(where(daft.col("number")).alias("node")).to_pydict()["node"]
            (folder / "nodes.json").write_text(json.dumps(sorted(set(nodes))))
        finally:
            ray.shutdown()
            cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
