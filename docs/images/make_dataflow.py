"""Draws docs/images/dataflow.svg: the chain from PyTorch to RTL and the streaming structure of the accelerator.

    .venv/bin/python docs/images/make_dataflow.py
"""

from __future__ import annotations

from pathlib import Path

INK, SOFT, LINE = "#1b2330", "#5b6675", "#8a94a3"
COLORS = {"soft": "#e8eef6", "conv": "#d6eaf8", "att": "#fdebd0", "mlp": "#d5f0e3", "io": "#eeeeee"}
out: list[str] = []


def box(x: float, y: float, w: float, h: float, lines: list[str], color: str) -> None:
    out.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{COLORS[color]}" stroke="{LINE}"/>')
    first = y + h / 2 - (len(lines) - 1) * 7.5 + 4
    for i, t in enumerate(lines):
        weight = ' font-weight="600"' if i == 0 else f' fill="{SOFT}"'
        out.append(f'<text x="{x + w / 2}" y="{first + i * 15}" text-anchor="middle"{weight}>{t}</text>')


def arrow(x1: float, y1: float, x2: float, y2: float) -> None:
    ends = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    out.append(f'<line {ends} stroke="{INK}" stroke-width="1.3" marker-end="url(#a)"/>')


def row(y: float, h: float, items: list[tuple[list[str], str]], gap: float = 22) -> None:
    left, right = 20, 980
    w = (right - left - gap * (len(items) - 1)) / len(items)
    for i, (lines, color) in enumerate(items):
        x = left + i * (w + gap)
        box(x, y, w, h, lines, color)
        if i:
            arrow(x - gap + 2, y + h / 2, x - 3, y + h / 2)


def label(x: float, y: float, text: str) -> None:
    out.append(f'<text x="{x}" y="{y}" font-weight="600" fill="{SOFT}">{text}</text>')


label(20, 20, "The chain: every arrow is an equality, checked integer by integer")
row(30, 52, [(["Brevitas model", "PyTorch"], "soft"), (["QONNX file", "stock qonnx"], "soft"),
             (["FINN graph", "integer goldens"], "soft"), (["SystemVerilog", "stitched kernels"], "soft"),
             (["Verilator", "real test images"], "soft")])
label(20, 118, "The accelerator: one stream of frames, all layers at work at once")
row(128, 52, [(["pixels", "uint8"], "io"), (["stem", "conv, GELU"], "io"), (["stage 1", "A blocks"], "conv"),
              (["down", "2x2"], "io"), (["stage 2", "A blocks"], "conv"), (["down", "2x2"], "io"),
              (["stage 3", "B blocks"], "att"), (["down", "2x2"], "io"), (["stage 4", "B blocks"], "att"),
              (["head", "logits"], "io")], gap=14)
label(20, 216, "Block A: multi-scale grouped dilated convolution")
row(226, 52, [(["threshold", "BN + RSign"], "conv"), (["binary_conv", "dilations 1, 3, 5"], "conv"),
              (["affine", "BN, + residual"], "conv"), (["MLP", "below"], "mlp")])
label(20, 314, "Block B: window attention with merged tokens")
row(324, 52, [(["window_concat", "+ pooled tokens"], "att"), (["layer_norm", "exact integers"], "att"),
              (["Q, K, V", "binary_linear"], "att"), (["qd_attention", "levels 0..3"], "att"),
              (["window_merge", "blend"], "att"), (["projection", "+ residual"], "att"), (["MLP", "below"], "mlp")])
label(20, 412, "MLP with shift branches: nine-tap circular stencil, rows rotated instead of frames buffered")
row(422, 52, [(["wrap_rows", "4 extra rows"], "mlp"), (["shift", "cross stencil"], "mlp"),
              (["threshold", "RSign"], "mlp"), (["binary_linear", "+ tile"], "mlp"),
              (["binary_linear", "+ channel_pool"], "mlp"), (["next block", "s8 stream"], "io")])
svg = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 488" font-family="sans-serif" font-size="12.5" '
       f'fill="{INK}">'
       '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
       f'<path d="M0,0 L6,3 L0,6 z" fill="{INK}"/></marker></defs><rect width="1000" height="488" fill="#ffffff"/>'
       + "".join(out) + "</svg>\n")
Path(__file__).with_name("dataflow.svg").write_text(svg)
