"""The catalogue that ships, and what a catalogue may not say."""

from __future__ import annotations

import pytest

from features.catalogue import Catalogue, CatalogueRefused, Problem, diff, load, parse
from features.catalogue.load import FOLDER
from features.catalogue.model import UnknownName

CATEGORIES = {
    "registration",
    "key_persons",
    "judicial",
    "tax",
    "social_insurance",
    "housing_fund",
    "utilities",
    "real_estate",
    "administrative",
    "environment",
    "qualifications",
    "import_export",
    "intellectual_property",
    "research",
    "agriculture",
    "operation",
    "credit",
}


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load()


def files() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.toml")}


def changed(name: str, old: str, new: str) -> dict[str, str]:
    """The shipped files with one place of one file written otherwise."""
    texts = files()
    assert old in texts[name]
    return {**texts, name: texts[name].replace(old, new, 1)}


def problems(texts: dict[str, str]) -> list[Problem]:
    with pytest.raises(CatalogueRefused) as refused:
        parse(texts)
    for one in refused.value.problems:
        assert one.message.isascii(), "English"
        assert not one.message_zh.isascii(), "Chinese"
    return list(refused.value.problems)


# ---- what ships ------------------------------------------------------------------------------------------------------


def test_every_category_is_there_with_items_and_features(shipped: Catalogue) -> None:
    """R36: every category of the standard and of the later notices."""
    assert {category.id for category in shipped} == CATEGORIES
    assert all(category.items and category.features for category in shipped)


def test_at_least_120_features_each_explained_in_both_languages(shipped: Catalogue) -> None:
    assert len(shipped.features) >= 120
    for feature in shipped.features:
        for zh, en in ((feature.zh, feature.en), (feature.why_zh, feature.why_en)):
            assert not zh.isascii(), feature.name
            assert en.replace("’", "'").isascii(), feature.name


def test_every_item_says_whose_it_is_and_how_it_may_be_used(shipped: Catalogue) -> None:
    """R36, R39, R41: use rule, source, update frequency, type, retention, sensitivity, sharing mode of each item."""
    for category in shipped:
        for item in category.items:
            assert item.use_zh and item.use_en and item.source and item.update and item.type
            assert item.retention_months >= 0
            assert bool(item.codes) == (item.type == "code")


def test_credit_data_stays_with_the_lender(shipped: Catalogue) -> None:
    """R43."""
    assert {feature.sharing for feature in shipped.category("credit").features} == {"lender"}


def test_a_feature_is_shared_as_strictly_as_its_strictest_item(shipped: Catalogue) -> None:
    """R51: arrears are held in the zone; sales need authorisation."""
    assert shipped.feature("tax_arrears_amount").sharing == "held"
    assert shipped.feature("vat_sales_12m").sharing == "on_authorisation"


def test_no_feature_reads_what_is_never_shared(shipped: Catalogue) -> None:
    """R51: C3 never leaves its place, in no mode."""
    secret = {(c.id, item.name) for c in shipped for item in c.items if not item.shareable}
    assert secret == {("key_persons", "person_ref"), ("credit", "account_ref")}
    assert all((feature.category, name) not in secret for feature in shipped.features for name in feature.reads)


def test_window_and_as_of_semantics_follow_the_expression(shipped: Catalogue) -> None:
    wanted = {
        "penalty_cnt_24m": (24, "window"),
        "kwh_yoy": (24, "window"),
        "months_since_penalty": (0, "since"),
        "tax_grade": (0, "latest"),
        "licence_cnt": (0, "standing"),
    }
    assert {name: (shipped.feature(name).window, shipped.feature(name).as_of) for name in wanted} == wanted


def test_an_unknown_feature_is_named_with_a_suggestion(shipped: Catalogue) -> None:
    with pytest.raises(UnknownName, match="penalty_cnt_24m"):
        shipped.feature("penalty_count_24m")


# ---- forbidden fields ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "zh", "en"),
    [
        ("religion", "其他", "Other"),
        ("owner_faith", "其他", "Other"),
        ("dna_sample", "其他", "Other"),
        ("finger_prints", "其他", "Other"),
        ("blood_type", "其他", "Other"),
        ("remark", "法定代表人血型", "Other"),
        ("remark", "宗 教 信 仰", "Other"),
        ("remark", "病·史", "Other"),
        ("remark", "其他", "Medical record"),
        ("remark", "其他", "ＤＮＡ"),
        ("iris", "其他", "Other"),
    ],
)
def test_a_forbidden_field_cannot_be_registered_under_any_name(name: str, zh: str, en: str) -> None:
    """R51; Regulation on the Credit Reporting Industry, article 14."""
    texts = files()
    texts["registration.toml"] += f'\n[[items]]\nname = "{name}"\nzh = "{zh}"\nen = "{en}"\ntype = "text"\n'
    assert "catalogue_forbidden" in {one.code for one in problems(texts)}


def test_a_forbidden_word_inside_another_word_is_no_field() -> None:
    texts = files()
    texts["registration.toml"] += '\n[[items]]\nname = "general"\nzh = "普通"\nen = "General traces"\ntype = "text"\n'
    assert parse(texts)


def test_a_forbidden_code_cannot_be_registered() -> None:
    texts = changed("registration.toml", '"大型", "Large"', '"患病", "Large"')
    assert {one.code for one in problems(texts)} == {"catalogue_forbidden"}


# ---- other refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("tax.toml", 'id = "tax"', 'id = "tax', "catalogue_syntax"),
        ("tax.toml", 'update = "monthly"', "", "catalogue_missing_key"),
        ("tax.toml", 'update = "monthly"', 'update = "monthly"\nowner = "x"', "catalogue_unknown_key"),
        ("tax.toml", 'update = "monthly"', 'update = "sometimes"', "catalogue_bad_code"),
        ("tax.toml", "retention_months = 60", 'retention_months = "60"', "catalogue_wrong_type"),
        ("tax.toml", 'name = "sales"', 'name = "Sales"', "catalogue_bad_name"),
        ("tax.toml", 'name = "sales"', 'name = "known_at"', "catalogue_duplicate"),
        ("tax.toml", 'name = "tax_grade"', 'name = "kwh_12m"', "catalogue_duplicate"),
        ("tax.toml", 'id = "tax"', 'id = "credit"', "catalogue_duplicate"),
        ("tax.toml", 'type = "code"', 'type = "text"', "catalogue_codes"),
        ("tax.toml", 'repair = "drop"', 'repair = "mask"', "catalogue_repair"),
        ("tax.toml", 'name = "sales"', 'repair = "mask"\nname = "sales"', "catalogue_repair"),
        ("key_persons.toml", '"max(share_ratio)', '"min(person_ref) || max(share_ratio)', "catalogue_sensitive"),
        ("tax.toml", 'kind = "text"\ndirection = "neutral"\nmissing = "unknown"',
         'kind = "text"\ndirection = "neutral"\nmissing = "none"', "catalogue_missing"),
    ],
)  # fmt: skip
def test_a_catalogue_that_says_too_much_or_too_little_is_refused(name: str, old: str, new: str, code: str) -> None:
    found = problems(changed(name, old, new))
    assert code in {one.code for one in found}
    assert all(one.where.startswith(name) or one.code == "catalogue_duplicate" for one in found)


# ---- versions --------------------------------------------------------------------------------------------------------


def test_the_version_is_of_the_content_not_of_the_files(shipped: Catalogue) -> None:
    renamed = {f"x_{name}": text + "\n# a remark\n" for name, text in files().items()}
    assert parse(renamed).version == shipped.version
    assert parse(changed("tax.toml", "retention_months = 60", "retention_months = 61")).version != shipped.version


def test_a_changed_feature_touches_itself_and_its_models(shipped: Catalogue) -> None:
    new = parse(changed("tax.toml", "w12 and arrears > 0", "w12 and arrears > 100"))
    changes = diff(shipped, new, {"m1": ["tax_arrears_months", "kwh_yoy"], "m2": ["kwh_yoy"]})
    assert changes.changed == {"feature tax_arrears_months": ("sql",)}
    assert (changes.touched, changes.models) == (("tax_arrears_months",), ("m1",))


def test_a_changed_item_touches_every_feature_that_reads_it(shipped: Catalogue) -> None:
    new = parse(changed("utilities.toml", 'unit = "m3_or_kWh"', 'unit = "kWh"'))
    changes = diff(shipped, new, {"m1": ["kwh_yoy"], "m2": ["penalty_cnt_12m"]})
    reading = {feature.name for feature in shipped.features if "consumption" in feature.reads}
    assert set(changes.touched) == reading >= {"kwh_yoy", "usage_cv_12m"}
    assert changes.models == ("m1",)


def test_other_words_touch_no_model(shipped: Catalogue) -> None:
    new = parse(changed("utilities.toml", 'en = "Consumption', 'en = "Use'))
    changes = diff(shipped, new, {"m1": ["kwh_yoy"]})
    assert changes
    assert (changes.touched, changes.models) == ((), ())


def test_a_changed_category_rule_touches_all_its_features(shipped: Catalogue) -> None:
    new = parse(changed("judicial.toml", 'repair = "drop"', 'repair = "none"'))
    changes = diff(shipped, new, {"m1": ["exec_cnt_24m"]})
    assert set(changes.touched) == {feature.name for feature in shipped.category("judicial").features}


def test_what_is_gone_and_what_is_new_is_named(shipped: Catalogue) -> None:
    texts = files()
    del texts["agriculture.toml"]
    changes = diff(shipped, parse(texts), {"m1": ["land_area"]})
    assert {"agriculture", "agriculture.land_area", "feature land_area"} <= set(changes.removed)
    assert changes.models == ("m1",)
    assert "feature land_area" in diff(parse(texts), shipped).added
    assert not diff(shipped, shipped)
