"""What the demo is asked to do, and the folders it does it in.

Owns names and places. Removes nothing but a state folder that an earlier demo marked as its own.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from api.demo.enterprises import Choices
from api.demo.narrate import DemoFailed

_MARKER = ".creditlab-demo"
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,50}")
LAB = "lab"
_TAKEN = frozenset({LAB, "platform", "operator", "gateway"})


class Mode(StrEnum):
    FEDERATED = "federated"
    ZONE = "zone"
    BOTH = "both"

    @property
    def each(self) -> list[str]:
        return ["federated", "zone"] if self is Mode.BOTH else [str(self)]


class Recipe(StrEnum):
    BOOSTING = "boosting"
    LOGISTIC = "logistic"
    BOTH = "both"

    @property
    def each(self) -> list[str]:
        return ["boosting", "logistic"] if self is Recipe.BOTH else [str(self)]


class Banks(StrEnum):
    ONE = "one"
    SPLIT = "split"


@dataclass(frozen=True)
class Options:
    """`data` None: the simulated province. `withdraw` enterprises end their consent while each job runs."""

    out: Path
    data: Path | None = None
    mode: Mode = Mode.BOTH
    recipe: Recipe = Recipe.BOOSTING
    banks: Banks = Banks.ONE
    choices: Choices = field(default_factory=Choices)
    withdraw: int = 20
    keep: bool = False


@dataclass(frozen=True)
class Folders:
    """`out` is the user's; `state` is the demo's: keys, databases and each owner's own folder."""

    out: Path

    @property
    def state(self) -> Path:
        return self.out / "state"

    @property
    def logs(self) -> Path:
        return self.out / "logs"

    @property
    def releases(self) -> Path:
        return self.out / "releases"

    @property
    def ca(self) -> Path:
        return self.state / "ca"

    @property
    def control(self) -> Path:
        return self.state / "control"

    @property
    def profiles(self) -> Path:
        return self.state / "profiles"

    def node(self, name: str) -> Path:
        return self.state / "nodes" / name

    def result(self, party: str | None, mode: str, recipe: str) -> Path:
        """Where a job's report goes; with several banks, below the bank's name."""
        return self.out.joinpath(*([party] if party else []), f"{mode}-{recipe}")

    def prepare(self) -> None:
        """Fresh state and log folders. Raises DemoFailed rather than touch what is not the demo's."""
        for folder in (self.state, self.logs):
            if folder.exists() and not (folder / _MARKER).is_file():
                raise DemoFailed(
                    f"{folder} exists and was not made by the demo: choose another --out",
                    f"{folder} 已存在且不是由演示创建：请另选 --out",
                )
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / _MARKER).write_text("made by `creditlab demo`; removed by the next one\n")
        self.state.chmod(0o711)  # the embedded database's user must reach its own folder, and may list nothing
        self.releases.mkdir(exist_ok=True)

    def discard_state(self) -> None:
        shutil.rmtree(self.state, ignore_errors=True)


def institution_of(party: str, number: int) -> str:
    """The institution's id for a value of the party column."""
    if _SLUG.fullmatch(party) and party not in _TAKEN:
        return party
    return f"bank-{number}"
