"""SecretFlow's boosting as shipped, behind the same bridge as our engine: the yardstick of `engine_boosting`.

Runs on the engine's Python. Nothing of ours takes part in the training: stock SGB, stock transport, `import ray`
failing as often as it likes. Rows, roles and columns are those of the ticket; both tables must hold the same ids.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import numpy as np

CHILD = "ENGINE_STOCK_CHILD"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--port-offset", type=int, default=0)
    parser.add_argument("--channel-fd", type=int, required=True)
    arguments = parser.parse_args()
    if CHILD not in os.environ:
        from creditlab_engine.bridge import run

        os.environ[CHILD] = "1"
        sys.exit(run(arguments.channel_fd, arguments.inputs, arguments.port_offset, child="benchmarks.engine_stock"))
    train(arguments)


def train(arguments: argparse.Namespace) -> None:
    from creditlab_engine.ports import FED, PARTIES, address
    from creditlab_engine.rendezvous import meet
    from creditlab_engine.table import load

    from models.channel import Channel
    from models.roles import roles

    channel = Channel.from_fd(arguments.channel_fd)
    task = channel.task()
    party, ticket = task["party"], task["ticket"]
    table = load(arguments.inputs, ticket, party, ())
    table = table.aligned(sorted(table.ids))
    role = roles(list(table.ids), None, ticket)
    design = np.stack(list(table.columns.values()), axis=1).astype(np.float64)

    import secretflow as sf
    from secretflow.data import FedNdarray, PartitionWay
    from secretflow.device import HEU
    from secretflow.device.driver import barrier
    from secretflow.ml.boost.sgb_v import Sgb, get_classic_XGB_params

    meet(party, arguments.port_offset, 60)
    parties = {name: {"address": address(name, FED, arguments.port_offset)} for name in PARTIES}
    sf.init(
        cluster_config={"parties": parties, "self_party": party},
        ray_mode=False,
        cross_silo_comm_backend="brpc_link",
        logging_level="error",
        job_name=ticket["job_id"],
    )
    bank, lab = sf.PYU("bank"), sf.PYU("lab")

    def part(rows: np.ndarray) -> FedNdarray:
        return FedNdarray(
            {device: device(lambda: design[rows])() for device in (bank, lab)}, partition_way=PartitionWay.VERTICAL
        )

    def label(rows: np.ndarray) -> FedNdarray:
        made = bank(lambda: table.label[rows].astype(np.float64).reshape(-1, 1))()
        return FedNdarray({bank: made}, partition_way=PartitionWay.VERTICAL)

    heu = ticket["protocol"]["heu"]
    config = {
        "sk_keeper": {"party": "bank"},
        "evaluators": [{"party": "lab"}],
        "mode": "PHEU",
        "he_parameters": {"schema": heu["schema"], "key_pair": {"generate": {"bit_size": heu["key_size"]}}},
    }
    from spu import FieldType

    device = HEU(config, FieldType.FM64)
    given = ticket["recipe"]["params"]
    params: dict[str, Any] = get_classic_XGB_params()
    params.update(
        num_boost_round=given["rounds"],
        max_depth=given["max_depth"],
        learning_rate=given["learning_rate"],
        sketch_eps=1 / given["bins"],
        reg_lambda=given["l2"],
        objective="logistic",
    )
    fit, test = role == "fit", role == "test"
    with channel.phase("fit_joint"):
        model = Sgb(device).train(params, part(fit), label(fit))
        barrier()
    predicted = model.predict(part(test), to_pyu=bank).partitions[bank]

    def area(scores: Any) -> float:
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(table.label[test], np.asarray(scores).ravel()))

    found = sf.reveal(bank(area)(predicted.data if not hasattr(predicted, "device") else predicted))
    if party == "bank":
        channel.output("stock.json", json.dumps({"auc": found}).encode())
    channel.done({})
    sf.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
