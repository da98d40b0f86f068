"""A mark as a QR code (R67): an address of the portal as an SVG, for print and screens. Holds no secret."""

from __future__ import annotations

import io

import segno

QUIET = 4  # modules of white around it (ISO/IEC 18004)
SCALE = 8  # units of the drawing for one module


def svg(address: str, title: str) -> bytes:
    """The code of `address`, level M (15 % may be damaged), named `title` for who cannot see it."""
    out = io.BytesIO()
    code = segno.make(address, error="m", micro=False)
    code.save(out, kind="svg", scale=SCALE, border=QUIET, title=title, light="#fff")
    return out.getvalue()
