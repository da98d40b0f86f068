"""Set intersection alone behind the engine's bridge: the measured half of `engine_psi`, on the engine's Python."""

from __future__ import annotations

import argparse
import os
import sys

CHILD = "ENGINE_PSI_CHILD"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--port-offset", type=int, default=0)
    parser.add_argument("--channel-fd", type=int, required=True)
    arguments = parser.parse_args()
    if CHILD not in os.environ:
        from creditlab_engine.bridge import run

        os.environ[CHILD] = "1"
        child = "benchmarks.engine_psi_child"
        sys.exit(run(arguments.channel_fd, arguments.inputs, arguments.port_offset, child=child))
    intersect(arguments)


def intersect(arguments: argparse.Namespace) -> None:
    from creditlab_engine.intersect import intersect
    from creditlab_engine.session import Session
    from creditlab_engine.table import load

    from models.channel import Channel

    channel = Channel.from_fd(arguments.channel_fd)
    task = channel.task()
    table = load(arguments.inputs, task["ticket"], task["party"], ())
    session = Session(task["party"], task["ticket"], arguments.port_offset)
    with channel.phase("psi"):
        common = intersect(session, list(table.ids))
    channel.done({"intersection": len(common)})
    session.close()
    os._exit(0)


if __name__ == "__main__":
    main()
