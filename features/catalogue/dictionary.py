"""The data dictionary: the catalogue as a page for people, Chinese first.

Owns the wording around the catalogue's own words. Never says anything that is not in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from features.catalogue import model
from features.catalogue.model import Catalogue, Category, Feature, Item


def render(catalogue: Catalogue) -> str:
    """Markdown: an overview, then per category its items and features."""
    items = sum(len(category.items) for category in catalogue)
    lines = [
        f"版本 Version `{catalogue.version[:16]}` · {len(catalogue.categories)} 类 categories · {items} 项 items · "
        f"{len(catalogue.features)} 个特征 features",
        "",
        "| 类别 category | 来源 source | 共享 sharing | 更新 update | 保存 retention | 分级 class | 修复 repair |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_overview(category) for category in catalogue]
    for category in catalogue:
        lines += ["", *_section(category)]
    lines += ["", "## 代码 · Codes", ""]
    for title, codes in (
        ("共享方式 sharing", model.SHARING),
        ("分级 sensitivity", model.SENSITIVITY),
        ("修复 repair", model.REPAIR),
        ("方向 direction", model.DIRECTIONS),
        ("缺失 missing", model.MISSING),
        ("时点 as of", model.AS_OF),
    ):
        lines.append(f"- {title}: " + "; ".join(f"`{code}` {zh} {en}" for code, (zh, en) in codes.items()))
    return "\n".join(lines) + "\n"


def _overview(category: Category) -> str:
    cells = (
        f"[{category.zh} {category.en}](#{category.id})",
        f"{category.source_zh}<br>{category.source_en}",
        _named(model.SHARING, category.sharing),
        _named(model.UPDATE, category.update),
        _retention(category.retention_months),
        category.sensitivity,
        _named(model.REPAIR, category.repair),
    )
    return _row(cells)


def _section(category: Category) -> Iterable[str]:
    yield f'## <a id="{category.id}"></a>{category.zh} · {category.en} (`{category.id}`)'
    yield ""
    yield f"{category.use_zh}。事件日期：{category.event_zh}。"
    yield f"{category.use_en}. Event date: {category.event_en.lower()}."
    yield ""
    yield "| 数据项 item | 名称 name | 类型 type | 单位 unit | 共享 sharing | 分级 | 修复 repair | 代码 codes |"
    yield "|---|---|---|---|---|---|---|---|"
    for item in category.items:
        yield _item(item)
    yield ""
    yield "| 特征 feature | 名称 name | 定义 definition | 窗口（月） | 时点 as of | 方向 | 缺失 | 共享 | 说明 why |"
    yield "|---|---|---|--:|---|---|---|---|---|"
    for feature in category.features:
        yield _feature(feature)


def _item(item: Item) -> str:
    codes = "<br>".join(f"`{code}` {zh} {en}" for code, (zh, en) in item.codes.items())
    return _row(
        (
            f"`{item.name}`",
            f"{item.zh}<br>{item.en}",
            _named(model.TYPES, item.type),
            item.unit,
            f"`{item.sharing}`",
            item.sensitivity,
            f"`{item.repair}`",
            codes,
        )
    )


def _feature(feature: Feature) -> str:
    return _row(
        (
            f"`{feature.name}`",
            f"{feature.zh}<br>{feature.en}",
            f"`{feature.sql}`",
            str(feature.window or ""),
            f"`{feature.as_of}`",
            f"`{feature.direction}`",
            f"`{feature.missing}`",
            f"`{feature.sharing}`",
            f"{feature.why_zh}<br>{feature.why_en}",
        )
    )


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _named(codes: Mapping[str, tuple[str, str]], code: str) -> str:
    return "<br>".join(codes[code])


def _retention(months: int) -> str:
    return f"{months} 个月<br>{months} months" if months else "长期<br>as long as the enterprise exists"
