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
_HEAD = FontFace(emphasis="", fill_color=(232, 236, 243))
_LINES = (176, 184, 196)
#: Records drawn of each category, the latest first; the document lists more.
_DRAWN = 5
#: Room that a heading needs below it, or it stands at the foot of a page without its table, millimetres.
_TOGETHER = 32


class _Page(FPDF):
    """A page whose foot says whose copy it is."""

    def __init__(self, foot: str) -> None:
        super().__init__(format="A4")
        self._foot = foot

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font("cjk", size=7)
        self.set_text_color(110)
        self.cell(0, 5, f"{self._foot} · {self.page_no()}/{{nb}}", align="C")
        self.set_text_color(0)


def render(report: dict[str, Any], font: Path = FONT) -> bytes:
    """The PDF of a document that `credit_report` made. Raises SharingRefused where the font is missing."""
    if not font.is_file():
        raise SharingRefused(
            "report_font",
            f"{font.name}: no such font; install the package fonts-noto-cjk, or name another font with Chinese",
            f"缺少字体 {font.name}，请安装 fonts-noto-cjk，或指定其他中文字体",
        )
    page = _Page(f"{report['uscc']} · {report['recipient']} · {report['usage']} · {report['made_on']}")
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
    _table(page, head, (60, 130), headed=False)
    told = report["evaluation"]
    _line(page, f"综合评价 Evaluation: {told['grade']} · {told['score']} / {told['of']}", 13)
    if not told["complete"]:
        _line(page, "评价不完整：许可未包含全部类别。Not complete: the permit does not cover every category.", 9)
    rows = []
    for one in told["dimensions"]:
        lost = "\n".join(f"{each['zh']} {each['en']} −{each['points']}" for each in one["deductions"])
        rows.append((f"{one['zh']} {one['en']}", f"{one['score']} / {one['weight']}", lost or "–"))
    _table(page, [("维度 dimension", "得分 score", "扣分 deductions"), *rows], (60, 30, 100))
    for one in report["categories"]:
        if page.get_y() > page.h - page.b_margin - _TOGETHER:
            page.add_page()
        _line(page, f"{one['zh']} · {one['en']}（{one['source_zh']}，{one['records']} 条记录 records）", 12)
        shown = [(f"{each['zh']} {each['en']}", _both(each["shown_zh"], each["shown_en"])) for each in one["features"]]
        if shown:
            _table(page, [("特征 feature", "值 value"), *shown], (120, 70))
        drawn = [(each["event_date"], f"{each['zh']}\n{each['en']}") for each in one["shown"][:_DRAWN]]
        if drawn:
            title = f"最近记录 latest records ({len(drawn)} / {one['records']})"
            _table(page, [("日期 date", title), *drawn], (26, 164), size=8)
    _line(page, f"{report['notice_zh']} {report['notice']}", 8)
    return bytes(page.output())


def _both(zh: str, en: str) -> str:
    """Both languages; a number that stands in both is told once."""
    number, _, rest = en.partition(" ")
    return zh if zh == en else f"{zh} {rest}" if rest and zh.startswith(f"{number} ") else f"{zh} {en}"


def _line(page: FPDF, text: str, size: int) -> None:
    page.set_font("cjk", size=size)
    page.multi_cell(0, size * 0.6, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.ln(1)


def _table(
    page: FPDF, rows: Sequence[Sequence[str]], widths: tuple[int, ...], *, headed: bool = True, size: int = 9
) -> None:
    page.set_font("cjk", size=size)
    page.set_draw_color(*_LINES)
    with page.table(
        rows,
        col_widths=widths,
        headings_style=_HEAD,
        line_height=5,
        text_align="LEFT",
        first_row_as_headings=headed,
        padding=(0.4, 1.2),
    ):
        pass
    page.ln(2)
