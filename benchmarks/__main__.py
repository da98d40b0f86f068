"""`python -m benchmarks --out DIR [--only zone,ledger,…]`: measures and writes DIR/results.json.

Owns the order of sections and the exit code: 1 when a section could not be measured or a bar is not kept.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from benchmarks import results
from benchmarks.bars import broken
from benchmarks.results import SECTIONS, BenchmarkFailed, Section, say


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="measure creditlab beside the plain tools")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"), help="folder of results.json")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections to measure, separated by commas")
    options = parser.parse_args(arguments)
    wanted = [name.strip() for name in options.only.split(",") if name.strip()]
    if unknown := sorted(set(wanted) - set(SECTIONS)):
        parser.error(f"unknown section {unknown[0]}: choose of {', '.join(SECTIONS)}")
    path = options.out / "results.json"
    earlier = results.read(path) if path.exists() and set(wanted) != set(SECTIONS) else None
    done: list[Section] = []
    failed = False
    for name in (section for section in SECTIONS if section in wanted):
        started = time.monotonic()
        try:
            done.append(importlib.import_module(f"benchmarks.{name}").run())
        except BenchmarkFailed as error:
            say(name)(f"not measured: {error}")
            failed = True
            continue
        say(name)(f"took {time.monotonic() - started:.0f} s")
        # after every section: a long run that is cut off keeps what it has
        document = results.write(done, path, earlier)
    if not done:
        return 1
    print(f"results: {path}")
    misses = broken(document)
    for miss in misses:
        print(f"BAR NOT KEPT: {miss}")
    return 1 if failed or misses else 0


if __name__ == "__main__":
    sys.exit(main())
