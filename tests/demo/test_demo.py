"""The demo itself, with real processes: it leaves what it promises and nothing that runs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

CREDITLAB = str(Path(sys.executable).with_name("creditlab"))
_MARK = "CREDITLAB_DEMO_TEST"


class Demo:
    """A demo started with a mark in its environment, by which everything that descends from it is found."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self.out, self._mark = out, f"{_MARK}={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self.log = out.with_suffix(".log")
        with self.log.open("w") as sink:
            self.process = subprocess.Popen(
                [CREDITLAB, "demo", *arguments, "--out", str(out)],
                env={**os.environ, name: value},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait(self, seconds: float) -> int:
        return self.process.wait(seconds)

    def reaches(self, words: str, seconds: float) -> None:
        assert eventually(lambda: words in self.text or self.process.poll() is not None, seconds), self.text
        assert words in self.text, self.text

    def running(self) -> list[int]:
        """Pids of the demo and all its descendants."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found


def eventually(probe: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if probe():
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "data"
    subprocess.run(
        [CREDITLAB, "data", "simulate", str(folder), "--bank", "1200", "--lab", "1500"], check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def finished(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """One whole tour in zone mode."""
    demo = Demo(tmp_path_factory.mktemp("tour") / "out", "run", "--data", str(small), "--mode", "zone")
    code = demo.wait(240)
    assert code == 0, demo.text
    return demo


def test_the_tour_leaves_report_page_release_and_scores(finished: Demo) -> None:
    folder = finished.out / "zone-boosting"
    report = json.loads((folder / "report.json").read_text())
    assert set(report["models"]) == {"bank_only", "lab_only", "stacked", "joint"}
    assert report["mode"] == "zone"
    assert report["release"]["state"] == "released"
    assert len(report["release"]["reviewers"]) == 2
    [released] = (finished.out / "releases").iterdir()
    assert released.name == f"{report['release']['sha256']}.json"
    assert hashlib.sha256(released.read_bytes()).hexdigest() == report["release"]["sha256"]
    assert "<html" in (folder / "report.html").read_text()[:2000]


def test_some_refuse_and_some_withdraw_while_the_job_runs(finished: Demo) -> None:
    cohort = json.loads((finished.out / "zone-boosting" / "report.json").read_text())["cohort"]
    assert cohort["bank_rows"] == 1200
    assert cohort["intersection"] < 1000
    assert "20 enterprises withdraw consent now" in finished.text
    assert "consent ended: left before" in finished.text


def test_scores_are_given_with_consent_and_refused_without(finished: Demo) -> None:
    scores = json.loads((finished.out / "zone-boosting" / "scores.json").read_text())
    assert len(scores) == 5
    for given in scores[:3]:
        assert 0 < given["pd"] < 1
        assert given["reasons"]
    assert all("refused" in denied and "score" not in denied for denied in scores[3:])


def test_nothing_runs_and_no_state_is_left_after_the_tour(finished: Demo) -> None:
    assert finished.running() == []
    assert not (finished.out / "state").exists()
    assert (finished.out / "logs" / "control.log").is_file()


def test_a_demo_that_is_interrupted_ends_everything_it_started(small: Path, tmp_path: Path) -> None:
    demo = Demo(tmp_path / "out", "run", "--data", str(small), "--mode", "zone")
    demo.reaches("[ 6]", 120)
    assert len(demo.running()) >= 4
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait(60) == 130
    assert eventually(lambda: not demo.running(), 10), demo.running()
    assert not (tmp_path / "out" / "state").exists()


def test_a_demo_that_is_killed_leaves_no_process(small: Path, tmp_path: Path) -> None:
    demo = Demo(tmp_path / "out", "run", "--data", str(small), "--mode", "zone")
    demo.reaches("[ 6]", 120)
    demo.process.kill()
    assert eventually(lambda: not demo.running(), 40), demo.running()


def test_refused_data_stops_the_demo_before_anything_starts(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spoilt"
    folder.mkdir()
    (folder / "dataset.toml").write_text((small / "dataset.toml").read_text())
    (folder / "lab.parquet").write_bytes((small / "lab.parquet").read_bytes())
    demo = Demo(tmp_path / "out", "run", "--data", str(folder))
    assert demo.wait(60) == 1
    assert "bank.parquet: the file does not exist" in demo.text
    assert "文件不存在" in demo.text
    assert "Traceback" not in demo.text
    assert not (tmp_path / "out" / "logs" / "control.log").exists()


def test_up_stays_until_it_is_stopped(small: Path, tmp_path: Path) -> None:
    demo = Demo(tmp_path / "out", "up", "--data", str(small), "--banks", "split")
    demo.reaches("Ctrl-C stops everything", 180)
    profile = tmp_path / "out" / "state" / "profiles" / "operator.toml"
    jobs = subprocess.run(
        [CREDITLAB, "--profile", str(profile), "job", "list", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(jobs.stdout) == []
    assert {"bank_a-risk.toml", "bank_b-risk.toml"} <= {path.name for path in profile.parent.iterdir()}
    assert demo.process.poll() is None
    demo.process.terminate()
    assert demo.wait(60) == 143
    assert eventually(lambda: not demo.running(), 10)
