"""Recipes: which learner a job runs and with which parameters.

Owns the names, defaults and limits of the two recipes that both modes share, and their validation. It never trains
anything and imports nothing beyond the standard library, because the engine (Python 3.10) reads the same defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["RECIPES", "Parameter", "RecipeError", "defaults", "resolve"]


class RecipeError(ValueError):
    """A recipe that cannot be run. `code` is stable; `message` and `message_zh` are for people."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.code, self.message, self.message_zh = code, message, message_zh


@dataclass(frozen=True)
class Parameter:
    """One parameter: its default, closed range [low, high], type, and the modes that can honour it."""

    default: float
    low: float
    high: float
    integer: bool = False
    modes: tuple[str, ...] = ("federated", "zone")
    note: str = ""


RECIPES: dict[str, dict[str, Parameter]] = {
    "boosting": {
        "rounds": Parameter(40, 1, 500, True, note="trees; federated cost grows with rounds × bins × columns"),
        "max_depth": Parameter(4, 1, 8, True, note="levels of splits; a tree has at most 2**max_depth leaves"),
        "learning_rate": Parameter(0.15, 0.001, 1.0),
        "bins": Parameter(32, 3, 255, True, note="histogram bins of a numeric column"),
        "l2": Parameter(1.0, 0.0, 1000.0, note="penalty on leaf weights"),
        "colsample": Parameter(1.0, 0.05, 1.0, note="share of columns a tree may use"),
        "min_leaf": Parameter(
            20, 20, 10_000, True, note="rows a leaf must hold; fewer than 20 could single someone out"
        ),
        "bags": Parameter(1, 1, 20, True, ("zone",), note="models with different seeds whose margins are averaged"),
    },
    "logistic": {
        "max_bins": Parameter(8, 2, 50, True, note="quantile bins of a numeric column"),
        "min_share": Parameter(0.02, 0.001, 0.5, note="share of rows a numeric bin must hold"),
        "max_levels": Parameter(50, 2, 500, True, note="levels of a categorical column, the rest become one"),
        "level_share": Parameter(0.005, 0.0005, 0.5, note="share of rows a level must hold to stand alone"),
        "l2": Parameter(1.0, 0.0, 1e6, note="penalty on coefficients: l2/2 · Σ coefficient², on the sum of log losses"),
        "epochs": Parameter(4, 1, 50, True, note="Newton steps of the secret-shared training"),
    },
}


def defaults(name: str) -> dict[str, float]:
    """All parameters of a recipe with their default values. Raises RecipeError for an unknown name."""
    if name not in RECIPES:
        raise RecipeError(
            "recipe_unknown",
            f"recipe.name: {name!r} is not a recipe; choose one of {', '.join(sorted(RECIPES))}",
            f"recipe.name：没有名为 {name!r} 的建模方案；可选：{'、'.join(sorted(RECIPES))}",
        )
    return {key: _typed(parameter, parameter.default) for key, parameter in RECIPES[name].items()}


def resolve(recipe: Any, mode: str | None = None) -> dict[str, Any]:
    """The recipe with every parameter filled in: {"name", "params"}.

    `mode` ("federated" or "zone") also refuses parameters which that mode cannot honour. Raises RecipeError naming
    the field, the value and what is allowed.
    """
    if not isinstance(recipe, dict) or not isinstance(recipe.get("name"), str):
        raise RecipeError(
            "recipe_malformed",
            'recipe: expected an object {"name": …, "params": {…}}',
            'recipe：应为 {"name": …, "params": {…}} 形式的对象',
        )
    extra = sorted(set(recipe) - {"name", "params"})
    if extra:
        raise RecipeError(
            "recipe_malformed",
            f"recipe: unknown field {extra[0]!r}; parameters belong under recipe.params",
            f"recipe：未知字段 {extra[0]!r}；参数应写在 recipe.params 下",
        )
    name, given = recipe["name"], recipe.get("params") or {}
    params = defaults(name)
    if not isinstance(given, dict):
        raise RecipeError("recipe_malformed", "recipe.params: expected an object", "recipe.params：应为对象")
    for key, value in given.items():
        params[key] = _checked(name, key, value)
    if mode is not None:
        for key, value in params.items():
            parameter = RECIPES[name][key]
            if mode not in parameter.modes and value != parameter.default:
                raise RecipeError(
                    "recipe_parameter_mode",
                    f"recipe.params.{key}: {value} works only in {' or '.join(parameter.modes)} mode; leave it out",
                    f"recipe.params.{key}：{value} 仅适用于 {'、'.join(parameter.modes)} 模式；请删去",
                )
    return {"name": name, "params": params}


def _checked(name: str, key: str, value: Any) -> float:
    parameter = RECIPES[name].get(key)
    if parameter is None:
        known = ", ".join(RECIPES[name])
        raise RecipeError(
            "recipe_parameter_unknown",
            f"recipe.params.{key}: {name} has no such parameter; it has {known}",
            f"recipe.params.{key}：{name} 没有这个参数；可用参数：{known}",
        )
    wanted = "a whole number" if parameter.integer else "a number"
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    # The range check also refuses NaN, which compares false with everything.
    if not numeric or not parameter.low <= value <= parameter.high or (parameter.integer and value != int(value)):
        raise RecipeError(
            "recipe_parameter_range",
            f"recipe.params.{key}: {value!r} is not {wanted} from {parameter.low:g} to {parameter.high:g}",
            f"recipe.params.{key}：{value!r} 不是 {parameter.low:g} 到 {parameter.high:g} 之间的"
            f"{'整数' if parameter.integer else '数'}",
        )
    return _typed(parameter, value)


def _typed(parameter: Parameter, value: float) -> float:
    return int(value) if parameter.integer else float(value)
