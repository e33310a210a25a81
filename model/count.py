"""Operations and parameters of a network, per group of equal layers and in total, from its configuration alone.

Conventions (those of the published counts): a multiply-accumulate counts once; a binary MAC multiplies +-1 by
+-1, convolution padding included; the product of attention levels and V is one binary MAC per thermometer map
of the levels (three of them, but one where attention is a single bit), listed once and, in `binary_macs_av3`, that
often. Other MACs (stem, classifier, full-precision down-sampling) become 8-bit fixed point in the deployed network:
`fixed_macs`. Elementwise operations are an upper bound before folding: batch norm 2 per element, RPReLU 3, LayerScale
2, move, residual, binary scale, GELU, bias and position 1 each, layer norm 7, softmax 4, attention quantizer 5, blend
3, pooling 1 per input. OPs = binary MACs / 64 + other MACs.

Parameters, tensors (entries of the state dict) and buffers (elements) are those of the trained float network;
`binary_weights` is the part of the parameters that is stored as one bit, in `binary_tensors` tensors, with one scale
for each of `binary_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

AV_MAPS = 3  # levels 0..3 are three thermometer-coded binary maps
FIGURES = ("binary_macs", "binary_macs_av3", "fixed_macs", "elementwise", "binary_weights", "binary_tensors",
           "binary_rows", "parameters", "tensors", "buffers")


class Part(NamedTuple):
    """What a small module brings into the state dict."""

    tensors: int
    parameters: int
    buffers: int = 0


def _vector(n: int) -> Part:
    return Part(1, n)


def _norm(n: int) -> Part:
    return Part(5, 2 * n, 2 * n + 1)


def _rprelu(n: int) -> Part:
    return Part(3, 3 * n)


def _scale(n: int) -> Part:
    """LayerScale, or LayerNorm."""
    return Part(2, 2 * n)


def count(cfg) -> dict:
    """Count a network.

    cfg: a ModelConfig. Returns {"name", "image_size", "layers": [{"layer", "repeat", figure: per image and layer,
    ...}], "total": {figure: per image, repeats included, "ops", "ops_av3", "float_parameters"}}; the figures are those
    of `FIGURES`.
    """
    layers = list(_layers(cfg))
    total = {figure: sum(row[figure] * row["repeat"] for row in layers) for figure in FIGURES}
    total["float_parameters"] = total["parameters"] - total["binary_weights"]
    total["ops"] = total["binary_macs"] / 64 + total["fixed_macs"]
    total["ops_av3"] = total["binary_macs_av3"] / 64 + total["fixed_macs"]
    return {"name": cfg.name, "image_size": cfg.image_size, "layers": layers, "total": total}


def _layers(cfg) -> Iterator[dict]:
    maps, widths = cfg.maps, cfg.widths
    c, tokens = widths[0], maps[0] ** 2
    pixels = cfg.stem_patch**2 * cfg.image_channels
    yield _row(f"stem {cfg.stem_patch}x{cfg.stem_patch} conv {cfg.image_channels}->{c}", fixed=pixels * c * tokens,
               elementwise=5 * c * tokens, parts=(_vector(pixels * c), _vector(c), _norm(c), _vector(tokens * c)))
    for stage, mixer in enumerate(cfg.mixers):
        c, side, depth = widths[stage], maps[stage], cfg.depths[stage]
        yield from (_convolutions if mixer == "convolution" else _attention)(cfg, stage, c, side, depth)
        yield from _mlp(cfg, f"S{stage + 1}", c, c * cfg.mlp_ratios[stage], side * side, depth)
        if stage < 3:
            yield _down(cfg, stage, c, widths[stage + 1], side)
    c, tokens = widths[3], maps[3] ** 2
    yield _row("final batch norm and mean", elementwise=3 * c * tokens, parts=(_norm(c),))
    yield _row(f"classifier {c}->{cfg.classes}", fixed=c * cfg.classes, elementwise=cfg.classes,
               parts=(_vector(c * cfg.classes), _vector(cfg.classes)))


def _convolutions(cfg, stage: int, c: int, side: int, depth: int) -> Iterator[dict]:
    tokens, n, row = side * side, len(cfg.dilations), (c // cfg.groups) * 9
    dilations = "/".join(str(d) for d in cfg.dilations)
    convs = {1: "one grouped 3x3 conv", 3: "three grouped 3x3 convs"}.get(n, f"{n} grouped 3x3 convs")
    yield _row(f"S{stage + 1} {convs} (groups {cfg.groups}, dilation{'s' * (n > 1)} {dilations})", depth,
               binary=n * c * row * tokens, weights=((c, row),) * n)
    # batch norm, move, per branch scale, bias, RPReLU and perhaps a residual, sums, batch norm, residual
    branch = 5 + cfg.msgdc_residual
    yield _row(f"S{stage + 1} convs elementwise", depth,
               elementwise=(2 * cfg.pre_norm + 1 + n * branch + (n - 1) + 2 + 1) * c * tokens,
               parts=(*_pre(cfg, c), _vector(c), *(_vector(c), _rprelu(c)) * n, _norm(c)))


def _attention(cfg, stage: int, c: int, side: int, depth: int) -> Iterator[dict]:
    name, heads, window = f"S{stage + 1}", cfg.stage_heads(stage), cfg.window
    windows = (side // window) ** 2
    merged = windows if cfg.merge_tokens != "off" else 0
    length = window * window + merged  # tokens of a window, merge tokens included
    tokens, long = side * side, windows * length
    pairs = windows * length * length
    yield _row(f"{name} Q, K, V linear ({long} tokens)", depth, binary=3 * c * c * long, weights=((c, c),) * 3)
    yield _row(f"{name} Q.K ({windows} windows x {heads} heads x {length}^2)", depth, binary=pairs * c)
    yield _row(f"{name} A.V, one binary map", depth, binary=pairs * c, av=1 if cfg.attention == "binary" else AV_MAPS)
    yield _row(f"{name} attention output {c}->{c}", depth, binary=c * c * tokens, weights=((c, c),))
    pools = {"blend": 2, "average": 1, "off": 0}[cfg.merge_tokens]
    blend = pools * windows * window * window * c + 3 * c * windows * (cfg.merge_tokens == "blend")
    blended = merged and cfg.merge_output == "blend"
    back = windows * windows * c + (3 if blended else 1) * c * tokens if merged else 0  # mean of merge tokens, blend
    norm = _scale(c) if cfg.token_norm == "layer" else _norm(c)
    quantizer = {"gsb": (_vector(1),) * 3, "qd_fixed": ()}.get(
        cfg.attention, (_vector(heads), _vector(heads), Part(1, 0, 1)))
    yield _row(f"{name} attention elementwise", depth,
               elementwise=2 * cfg.pre_norm * c * tokens + blend  # batch norm, poolings, blend
               + (7 if cfg.token_norm == "layer" else 2) * c * long
               + 3 * 9 * c * long  # move, scale, norm, residual, RPReLU, move of Q, K, V
               + (4 + 5) * heads * pairs + (6 + 2 * cfg.context_norm) * c * long
               # softmax, quantizer; context norm, 3 sums, RPReLU
               + back + 11 * c * tokens,  # output: move, scale, norm, residual, RPReLU, LayerScale, residual
               parts=(*_pre(cfg, c), *(_vector(c),) * (cfg.merge_tokens == "blend"), norm,
                      *(_vector(c), _vector(c), _norm(c), _rprelu(c)) * 3, *quantizer,
                      *(_norm(c),) * cfg.context_norm, _rprelu(c), *(_vector(c),) * bool(blended),
                      _vector(c), _norm(c), _rprelu(c), _scale(c)))


def _mlp(cfg, name: str, c: int, hidden: int, tokens: int, depth: int) -> Iterator[dict]:
    yield _row(f"{name} MLP {c}->{hidden}", depth, binary=c * hidden * tokens, weights=((hidden, c),))
    yield _row(f"{name} MLP {hidden}->{c}", depth, binary=c * hidden * tokens, weights=((c, hidden),))
    # hidden: scale, norm, residual, RPReLU, move, pooling; narrow: norm, move, scale, norm, residual, RPReLU, LS, sum
    yield _row(f"{name} MLP elementwise", depth, elementwise=(9 * hidden + (11 + 2 * cfg.pre_norm) * c) * tokens,
               parts=(*_pre(cfg, c), _vector(c), _norm(hidden), _rprelu(hidden), _vector(hidden), _norm(c), _rprelu(c),
                      _scale(c)))
    if cfg.shift != "off":  # 3 + 3 + 5 + 5 for the box filters, LayerScale and sum for each of six
        filters = 16 if cfg.shift == "box" else 0
        yield _row(f"{name} shifts (6 branches)", depth, elementwise=(filters + 18) * c * tokens,
                   parts=(_scale(c),) * 6)


def _pre(cfg, c: int) -> tuple[Part, ...]:
    """Batch norm in front of a token mixer or an MLP, where the network has it."""
    return (_norm(c),) * cfg.pre_norm


def _down(cfg, stage: int, c: int, wide: int, side: int) -> dict:
    tokens, less = side * side, (side // 2) ** 2
    name, position = f"down {stage + 1}->{stage + 2} 2x2 conv {c}->{wide}", _vector(less * wide)
    if cfg.downsample == "fp":
        return _row(f"{name} (full precision)", fixed=4 * c * wide * less,
                    elementwise=2 * c * tokens + 3 * wide * less,
                    parts=(_norm(c), _vector(4 * c * wide), _norm(wide), position))
    if cfg.downsample == "conv":
        return _row(f"{name} (alone)", fixed=4 * c * wide * less, parts=(_vector(4 * c * wide),))
    return _row(f"{name} (binary)", binary=4 * c * wide * less, weights=((wide, 4 * c),),
                elementwise=4 * c * tokens + 8 * wide * less,  # norm, move, pooling; scale, norm, sum, RPReLU, position
                parts=(_norm(c), _vector(c), _norm(wide), _rprelu(wide), position))


def _row(layer: str, repeat: int = 1, *, binary: int = 0, av: int = 1, fixed: int = 0, elementwise: int = 0,
         weights: tuple[tuple[int, int], ...] = (), parts: tuple[Part, ...] = ()) -> dict:
    """weights: (rows, elements of a row) of each binary weight; parts: everything else that is in the state dict."""
    bits = sum(rows * row for rows, row in weights)
    return {"layer": layer, "repeat": repeat, "binary_macs": binary, "binary_macs_av3": binary * av,
            "fixed_macs": fixed, "elementwise": elementwise, "binary_weights": bits, "binary_tensors": len(weights),
            "binary_rows": sum(rows for rows, _ in weights), "parameters": sum(p.parameters for p in parts) + bits,
            "tensors": sum(p.tensors for p in parts) + len(weights), "buffers": sum(p.buffers for p in parts)}
