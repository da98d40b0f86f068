"""Entry point: `python -m creditlab_engine --channel-fd N --inputs DIR`."""

from __future__ import annotations

import argparse
import sys

from .bridge import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="creditlab_engine")
    parser.add_argument("--channel-fd", type=int, required=True, help="inherited socket to the node")
    parser.add_argument("--inputs", required=True, help="folder with table.parquet")
    parser.add_argument("--port-offset", type=int, default=0, help="when two engines share one loopback")
    arguments = parser.parse_args()
    return run(arguments.channel_fd, arguments.inputs, arguments.port_offset)


if __name__ == "__main__":
    sys.exit(main())
