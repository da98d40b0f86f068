"""A recipe is complete and possible before anything runs; what is wrong is named."""

from __future__ import annotations

import math

import pytest

from models.recipes import RECIPES, RecipeError, defaults, resolve


@pytest.mark.parametrize("name", RECIPES)
def test_defaults_lie_within_their_own_limits(name):
    assert resolve({"name": name, "params": defaults(name)}) == {"name": name, "params": defaults(name)}


@pytest.mark.parametrize("name", RECIPES)
def test_an_empty_recipe_gets_every_parameter(name):
    assert set(resolve({"name": name})["params"]) == set(RECIPES[name])


def test_no_recipe_allows_leaves_below_twenty_rows():
    with pytest.raises(RecipeError) as caught:
        resolve({"name": "boosting", "params": {"min_leaf": 19}})
    assert caught.value.code == "recipe_parameter_range"
    assert "recipe.params.min_leaf" in caught.value.message
    assert "min_leaf" in caught.value.message_zh


@pytest.mark.parametrize(
    ("recipe", "code", "field"),
    [
        ({"name": "magic"}, "recipe_unknown", "magic"),
        ("boosting", "recipe_malformed", "recipe"),
        ({"name": "boosting", "rounds": 3}, "recipe_malformed", "rounds"),
        ({"name": "boosting", "params": [1]}, "recipe_malformed", "params"),
        ({"name": "boosting", "params": {"trees": 3}}, "recipe_parameter_unknown", "trees"),
        ({"name": "boosting", "params": {"rounds": 0}}, "recipe_parameter_range", "rounds"),
        ({"name": "boosting", "params": {"rounds": 2.5}}, "recipe_parameter_range", "rounds"),
        ({"name": "boosting", "params": {"rounds": True}}, "recipe_parameter_range", "rounds"),
        ({"name": "boosting", "params": {"rounds": "10"}}, "recipe_parameter_range", "rounds"),
        ({"name": "logistic", "params": {"l2": math.nan}}, "recipe_parameter_range", "l2"),
        ({"name": "logistic", "params": {"l2": math.inf}}, "recipe_parameter_range", "l2"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_field(recipe, code, field):
    with pytest.raises(RecipeError) as caught:
        resolve(recipe)
    assert caught.value.code == code
    assert field in caught.value.message


def test_a_parameter_that_a_mode_cannot_honour_is_refused_there_only():
    recipe = {"name": "boosting", "params": {"bags": 5}}
    assert resolve(recipe, "zone")["params"]["bags"] == 5
    with pytest.raises(RecipeError) as caught:
        resolve(recipe, "federated")
    assert caught.value.code == "recipe_parameter_mode"
