"""report.json follows its published schema; the page shows it, alone, in two languages, without trusting it."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser

import jsonschema
import pytest
from typer.testing import CliRunner

from models.cli import app
from models.report import InvalidReport, assemble, read, render, summary, validate, write
from models.report.assemble import schema
from models.report.protocol import describe
from models.report.wording import calibration_statement, stacking_statement, uplift_statement
from tests.models.support import ticket

KEYS = {  # what the acceptance reads
    "cohort": {"bank_rows", "lab_rows", "consented", "intersection", "train", "test"},
    "models": {"bank_only", "lab_only", "stacked", "joint"},
    "uplift": {"auc", "auc_ci"},
    "egress": {"bank_to_lab_bytes", "lab_to_bank_bytes"},
    "release": {"state", "sha256", "reviewers"},
}
SHA = "ab" * 32


def report_of(done, **changes):
    phases = [
        {"name": message["phase"], "party": "lab", **{k: message[k] for k in ("seconds", "cpu_seconds", "peak_rss_mb")}}
        for message in done.node.of("phase")
        if message["state"] == "done"
    ]
    given = {
        "ticket": done.ticket,
        "evaluation": done.evaluation,
        "cohort": {"bank_rows": 14_486, "lab_rows": 20_481, "consented": 14_486},
        "phases": phases,
        "egress": {"bank_to_lab_bytes": 123_456, "lab_to_bank_bytes": 789},
        "model_sha256": SHA,
    }
    return assemble(**(given | changes))


@pytest.fixture
def report(sba_zone):
    return copy.deepcopy(report_of(sba_zone))


def test_the_published_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema())


def test_a_report_has_at_least_the_promised_keys(report):
    assert {"dataset", "mode", "recipe", "leaks", "protocol", "phases"} <= set(report)
    for key, inner in KEYS.items():
        assert inner <= set(report[key])
    for block in report["models"].values():
        assert {"auc", "ks", "auc_ci"} <= set(block)
    assert {"name", "seconds", "cpu_seconds", "peak_rss_mb", "party"} <= set(report["phases"][0])
    assert report["release"] == {"state": "candidate", "sha256": SHA, "reviewers": []}


@pytest.mark.parametrize("run", ["sba_zone", "sba_card", "polish_zone", "uci_zone"])
def test_a_report_survives_writing_and_reading(run, request, tmp_path):
    made = report_of(request.getfixturevalue(run))
    write(made, tmp_path / "report.json")
    assert read(tmp_path / "report.json") == made


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["models", "joint", "auc"], 1.2),
        (["models", "joint", "auc_ci"], [0.5]),
        (["models", "stacked"], None),
        (["egress", "bank_to_lab_bytes"], -1),
        (["mode"], "open"),
        (["release", "sha256"], "short"),
        (["uplift", "verdict"], "great"),
        (["finished_at"], "yesterday"),
        (["leaks"], [{"party": "bank", "column": "x"}]),
    ],
)
def test_a_wrong_report_is_refused_by_field_and_not_written(report, tmp_path, path, value):
    place = report
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InvalidReport) as caught:
        write(report, tmp_path / "report.json")
    assert path[0] in caught.value.where
    assert not (tmp_path / "report.json").exists()


def test_what_is_no_report_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InvalidReport):
        read(tmp_path / "x.json")
    with pytest.raises(InvalidReport):
        validate([])


# ---- wording -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "verdict", "word", "word_zh"),
    [
        ([0.01, 0.05], "proven", "better than the bank alone", "优于"),
        ([-0.01, 0.05], "unproven", "No uplift is proven", "未证实有提升"),
        ([-0.05, -0.01], "worse", "worse", "低于"),
        ([0.0, 0.0], "unproven", "No uplift is proven", "未证实有提升"),
    ],
)
def test_an_uplift_is_claimed_only_when_its_interval_excludes_zero(interval, verdict, word, word_zh):
    gain = sum(interval) / 2
    got, english, chinese = uplift_statement({"auc": gain, "auc_ci": interval}, 0.6, 0.6 + gain)
    assert got == verdict
    assert word in english
    assert word_zh in chinese


def test_a_proven_uplift_that_hardly_matters_is_called_small():
    _, english, chinese = uplift_statement({"auc": 0.002, "auc_ci": [0.001, 0.003]}, 0.6, 0.602)
    assert "small" in english
    assert "很小" in chinese


def test_stacking_is_recommended_where_joint_training_does_not_beat_it():
    assert "may be enough" in stacking_statement({"auc": 0.001, "auc_ci": [-0.01, 0.01]})[0]
    assert "stack them" in stacking_statement({"auc": -0.02, "auc_ci": [-0.03, -0.01]})[0]
    assert "beats stacking" in stacking_statement({"auc": 0.02, "auc_ci": [0.01, 0.03]})[0]


def test_a_level_of_risk_that_does_not_hold_is_said():
    assert "understates" in calibration_statement({"predicted": 0.2, "observed": 0.3})[0]
    assert "overstates" in calibration_statement({"predicted": 0.4, "observed": 0.3})[0]
    assert "holds" in calibration_statement({"predicted": 0.31, "observed": 0.3})[0]


@pytest.mark.parametrize("mode", ["zone", "federated"])
@pytest.mark.parametrize("recipe", ["boosting", "logistic"])
@pytest.mark.parametrize("spu", ["SEMI2K", "CHEETAH"])
@pytest.mark.parametrize("heu", ["ou", "zpaillier"])
def test_the_protocol_block_says_whom_to_trust_and_what_was_revealed(mode, recipe, spu, heu):
    body = ticket("sba_2003_2006", recipe, mode)
    body["protocol"] = body["protocol"] | {"spu": spu, "heu": {"schema": heu, "key_size": 2048}}
    block = describe(body)
    told = " ".join(item["text"] for item in block["caveats"])
    assert {item["to"] for item in block["reveals"]} >= {"bank", "lab", "both"}
    assert all(item["what_zh"] for item in block["reveals"])
    if mode == "federated":
        assert ("Okamoto" in told) == (heu == "ou")
        assert ("triples" in told) == (recipe == "logistic" and spu == "SEMI2K")
        assert "emi-honest" in block["trust_model"]
    else:
        assert "trusts the sealed zone" in block["trust_model"]


def test_the_engines_own_list_of_disclosures_is_shown(sba_zone):
    own = [{"to": "bank", "what": "something measured", "what_zh": "实测"}]
    body = sba_zone.ticket | {"mode": "federated"}
    made = report_of(sba_zone, ticket=body, engine_protocol={"revealed": own})
    assert own[0] in made["protocol"]["reveals"]


# ---- the page ----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    VOID = frozenset(("meta", "input", "br", "link", "img"))

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("run", ["sba_zone", "sba_card", "polish_zone", "uci_zone"])
def test_the_page_is_well_formed_and_alone(run, request):
    text = render(report_of(request.getfixturevalue(run)))
    page = Page(text)
    assert page.open == []
    assert page.addresses == []
    assert "script" not in page.tags
    assert not re.search(r"https?://|url\(|@import|//[a-z]", text)
    assert page.tags.count("svg") == 5


def test_the_page_tells_the_verdict_first_and_in_both_languages(report):
    text = render(report)
    assert text.index(report["uplift"]["statement_zh"]) < text.index("<table>")
    for statement in ("statement", "statement_zh"):
        for block in ("uplift", "uplift_over_stacked", "calibration"):
            assert report[block][statement] in Page(text).texts
    for name in ("bank_only", "lab_only", "stacked", "joint"):
        assert f"{report['models'][name]['auc']:.3f}" in text


def test_markup_in_a_report_stays_text(report):
    hostile = "<img src=x onerror=alert(1)>"
    report["dataset"]["title"] = hostile
    report["importance"][0]["feature"] = hostile
    report["stability"]["features"][0]["feature"] = hostile
    report["leaks"] = [
        {"party": "lab", "column": hostile, "severity": "warn", "reason": hostile, "reason_zh": hostile, "auc": 0.7}
    ]
    report["release"]["reviewers"] = [hostile]
    assert "img" not in Page(render(report)).tags


def test_features_kept_by_their_owner_are_shown_as_such(report):
    report["importance"] = [
        {"party": "lab", "feature": None, "share": 0.7},
        {"party": "bank", "feature": "x", "share": 0.3},
    ]
    assert "名称留在数据方" in render(report)


# ---- text and command line ---------------------------------------------------------------------------------------


def test_the_summary_has_figures_statements_and_leaks_in_both_languages(report):
    report["leaks"] = [
        {"party": "bank", "column": "term", "severity": "exclude", "reason": "why", "reason_zh": "缘由", "auc": 0.97}
    ]
    report["excluded_columns"] = [{"party": "bank", "column": "term"}]
    text = summary(report)
    for wanted in (
        f"{report['models']['joint']['auc']:.3f}",
        report["uplift"]["statement"],
        report["uplift"]["statement_zh"],
        "bank.term",
        "缘由",
        "123,456",
    ):
        assert wanted in text


def test_the_command_line_renders_validates_and_summarises(report, tmp_path):
    source, target = tmp_path / "report.json", tmp_path / "report.html"
    write(report, source)
    run = CliRunner()
    assert run.invoke(app, ["render", str(source), str(target)]).exit_code == 0
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "valid" in run.invoke(app, ["validate", str(source)]).stdout
    assert "AUC" in run.invoke(app, ["summary", str(source)]).stdout
    source.write_text(json.dumps(report | {"mode": "open"}))
    refused = run.invoke(app, ["validate", str(source)])
    assert refused.exit_code == 1
    assert "mode" in refused.output
