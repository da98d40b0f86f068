"""`python -m benchmarks.table [RESULTS]`: the tables of `docs/benchmarks.md`, from a result file.

Owns the text between the two markers of the page; the words around them are written by hand. With RESULTS it first
takes that file over as `docs/benchmarks.json`, the committed one.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.data import PROJECT
from benchmarks.results import read

PAGE = PROJECT / "docs" / "benchmarks.md"
RESULTS = PROJECT / "docs" / "benchmarks.json"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
_HEAD = "| case | CPU s | wall s | peak MB | AUC | ratio | to | bar |\n|---|--:|--:|--:|--:|--:|---|---|\n"


def tables(document: dict[str, Any]) -> str:
    """The Markdown between the markers."""
    machine = document["machine"]
    out = [
        f"{document['date']} · {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB, "
        f"{machine['system']}, Python {machine['python']}"
    ]
    for section in document["sections"]:
        out.append(f"### {section['title']}")
        out.append(_HEAD + "\n".join(_row(row) for row in section["rows"]))
        out.append(f"Ratio: {section['unit']}. {section.get('note', '')}".strip())
    return "\n\n".join(out) + "\n"


def page(text: str, document: dict[str, Any]) -> str:
    """The page with its tables made anew. Raises ValueError when the markers are not there."""
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{PAGE.name} needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables(document)}\n{END}{after}"


def _row(row: dict[str, Any]) -> str:
    def number(key: str, digits: int) -> str:
        return f"{row[key]:,.{digits}f}" if key in row else "–"

    small = 3 if row["cpu_seconds"] < 10 else 1
    repeated = f" (median of {row['repetitions']})" if row.get("repetitions", 1) > 1 else ""
    cells = [
        row["case"] + repeated,
        number("cpu_seconds", small),
        number("wall_seconds", small),
        number("peak_rss_mb", 0),
        number("auc", 4),
        number("ratio", 3),
        row.get("ratio_to", "–"),
        row.get("bar", "–"),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    if len(sys.argv) > 1:
        read(Path(sys.argv[1]))  # refused before it replaces the committed one
        shutil.copyfile(sys.argv[1], RESULTS)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), read(RESULTS)), encoding="utf-8")
    print(PAGE.relative_to(PROJECT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
