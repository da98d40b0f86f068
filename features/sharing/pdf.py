"""Draws a credit report as PDF (A4), Chinese first.

Owns the layout only: what is not in the document is not in the PDF. The font is embedded by its used characters; Noto
Sans CJK (SIL Open Font License 1.1, Debian package `fonts-noto-cjk`) unless another file is given.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from features.sharing.permit import SharingRefused

FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
#: Simplified Chinese in the collection.
_FACE = 2
_PLAIN = FontFace(emphasis="")


def render(report: dict[str, Any], font: Path = FONT) -> bytes:
    """The PDF of a document that `credit_report` made. Raises SharingRefused where the font is missing."""
    if not font.is_file():
        raise SharingRefused(
            "report_font",
            f"{font.name}: no such font; install the package fonts-noto-cjk, or name another font with Chinese",
            f"缺少字体 {font.name}，请安装 fonts-noto-cjk，或指定其他中文字体",
        )
    page = FPDF(format="A4")
    page.set_creation_date(dt.datetime.fromisoformat(report["made_on"]).replace(tzinfo=dt.UTC))
    page.set_title("公共信用报告 Credit report")
    page.set_lang("zh-CN")
    page.add_font("cjk", "", font, collection_font_number=_FACE if font.suffix == ".ttc" else 0)
    page.set_auto_page_break(True, margin=18)
    page.add_page()
    _line(page, "公共信用报告 · Public credit report", 16)
    head = [
        ("统一社会信用代码 USCC", report["uscc"]),
        ("时点 as of", report["as_of"]),
        ("出具日期 made on", report["made_on"]),
        ("使用方 recipient", report["recipient"]),
        ("目的 purpose", report["purpose"]),
        ("使用记录 usage record", report["usage"]),
    ]
    _table(page, head, (60, 130))
    told = report["evaluation"]
    _line(page, f"综合评价 Evaluation: {told['grade']} · {told['score']} / {told['of']}", 13)
    if not told["complete"]:
        _line(page, "评价不完整：许可未包含全部类别。Not complete: the permit does not cover every category.", 9)
    rows = []
    for one in told["dimensions"]:
        lost = "；".join(f"{each['zh']} −{each['points']}" for each in one["deductions"])
        rows.append((f"{one['zh']} {one['en']}", f"{one['score']} / {one['weight']}", lost or "–"))
    _table(page, [("维度 dimension", "得分 score", "扣分 deductions"), *rows], (60, 30, 100))
    for one in report["categories"]:
        _line(page, f"{one['zh']} · {one['en']}（{one['source_zh']}，{one['records']} 条记录 records）", 12)
        shown = [(f"{each['zh']} {each['en']}", _value(each)) for each in one["features"]]
        if shown:
            _table(page, [("特征 feature", "值 value"), *shown], (130, 60))
    _line(page, f"{report['notice_zh']} {report['notice']}", 8)
    return bytes(page.output())


def _value(told: dict[str, Any]) -> str:
    value = told["value"]
    if value is None:
        return f"– {told['missing_zh']}"
    return f"{value:,.6g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _line(page: FPDF, text: str, size: int) -> None:
    page.set_font("cjk", size=size)
    page.multi_cell(0, size * 0.6, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.ln(1)


def _table(page: FPDF, rows: Sequence[Sequence[str]], widths: tuple[int, ...]) -> None:
    page.set_font("cjk", size=9)
    with page.table(rows, col_widths=widths, headings_style=_PLAIN, line_height=5, text_align="LEFT"):
        pass
    page.ln(2)
