"""Operations and parameters of a network, per group of equal layers and in total, from its configuration alone.

Conventions (those of the published counts): a multiply-accumulate counts once; a binary MAC multiplies +-1 by
+-1, convolution padding included; the product of attention levels and V is one binary MAC per thermometer map
of the levels (`av_maps` = 3), listed once and, in `binary_macs_av3`, three times. Other MACs (stem, classifier,
full-precision down-sampling) become 8-bit fixed point in the deployed network: `fixed_macs`. Elementwise
operations are an upper bound before folding: batch norm 2 per element, RPReLU 3, LayerScale 2, move, residual,
binary scale, GELU, bias and position 1 each, layer norm 7, softmax 4, attention quantizer 5, blend 3, pooling 1 per
input. OPs = binary MACs / 64 + other MACs. Parameters are those of the trained float network; `binary_weights` is
the part of them that is stored as one bit.
"""

from __future__ import annotations

from collections.abc import Iterator

AV_MAPS = 3  # levels 0..3 are three thermometer-coded binary maps
FIGURES = ("binary_macs", "binary_macs_av3", "fixed_macs", "elementwise", "binary_weights", "parameters")


def count(cfg) -> dict:
    """Count a network.

    cfg: a ModelConfig. Returns {"name", "image_size", "layers": [{"layer", "repeat", figure: per image and layer,
    ...}], "total": {figure: per image, repeats included, "ops", "ops_av3", "float_parameters"}}; the figures are
    binary_macs, binary_macs_av3, fixed_macs, elementwise (operations per image), binary_weights and parameters.
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
               elementwise=5 * c * tokens, parameters=pixels * c + 3 * c + tokens * c)
    for stage in range(4):
        c, side, depth = widths[stage], maps[stage], cfg.depths[stage]
        mixer = _convolutions if stage < 2 else _attention
        yield from mixer(cfg, stage, c, side, depth)
        yield from _mlp(f"S{stage + 1}", c, c * cfg.mlp_ratios[stage], side * side, depth)
        if stage < 3:
            yield _down(cfg, stage, c, widths[stage + 1], side)
    c, tokens = widths[3], maps[3] ** 2
    yield _row("final batch norm and mean", elementwise=3 * c * tokens, parameters=2 * c)
    yield _row(f"classifier {c}->{cfg.classes}", fixed=c * cfg.classes, elementwise=cfg.classes,
               parameters=(c + 1) * cfg.classes)


def _convolutions(cfg, stage: int, c: int, side: int, depth: int) -> Iterator[dict]:
    tokens, weights = side * side, 3 * c * (c // cfg.groups) * 9
    dilations = "/".join(str(d) for d in cfg.dilations)
    yield _row(f"S{stage + 1} three grouped 3x3 convs (groups {cfg.groups}, dilations {dilations})", depth,
               binary=weights * tokens, bits=weights)
    # batch norm, move, 3 x (scale, bias, RPReLU), 2 sums, batch norm, residual
    yield _row(f"S{stage + 1} convs elementwise", depth, elementwise=(2 + 1 + 3 * 5 + 2 + 2 + 1) * c * tokens,
               parameters=2 * c + c + 3 * (c + 3 * c) + 2 * c)


def _attention(cfg, stage: int, c: int, side: int, depth: int) -> Iterator[dict]:
    name, heads, window = f"S{stage + 1}", cfg.heads[stage - 2], cfg.window
    windows = (side // window) ** 2
    length = window * window + windows  # tokens of a window, merge tokens included
    tokens, long = side * side, windows * length
    pairs = windows * length * length
    yield _row(f"{name} Q, K, V linear ({long} tokens)", depth, binary=3 * c * c * long, bits=3 * c * c)
    yield _row(f"{name} Q.K ({windows} windows x {heads} heads x {length}^2)", depth, binary=pairs * c)
    yield _row(f"{name} A.V, one binary map", depth, binary=pairs * c, av=AV_MAPS)
    yield _row(f"{name} attention output {c}->{c}", depth, binary=c * c * tokens, bits=c * c)
    pooled = 2 * windows * window * window * c
    yield _row(f"{name} attention elementwise", depth,
               elementwise=2 * c * tokens + pooled + 3 * c * windows  # batch norm, two poolings, blend
               + 7 * c * long + 3 * 9 * c * long  # token norm; move, scale, norm, residual, RPReLU, move of Q, K, V
               + (4 + 5) * heads * pairs + 8 * c * long  # softmax, quantizer; context norm, 3 sums, RPReLU
               + windows * windows * c + 3 * c * tokens  # mean of the merge tokens, blend
               + 11 * c * tokens,  # output: move, scale, norm, residual, RPReLU, LayerScale, residual
               parameters=2 * c + c + 2 * c + 3 * 7 * c + _quantizer_parameters(cfg, heads) + 5 * c + c + 8 * c)


def _quantizer_parameters(cfg, heads: int) -> int:
    return 2 * heads if cfg.attention == "qd" else 3


def _mlp(name: str, c: int, hidden: int, tokens: int, depth: int) -> Iterator[dict]:
    yield _row(f"{name} MLP {c}->{hidden}", depth, binary=c * hidden * tokens, bits=c * hidden)
    yield _row(f"{name} MLP {hidden}->{c}", depth, binary=c * hidden * tokens, bits=c * hidden)
    # hidden: scale, norm, residual, RPReLU, move, pooling; narrow: norm, move, scale, norm, residual, RPReLU, LS, sum
    yield _row(f"{name} MLP elementwise", depth, elementwise=(9 * hidden + 13 * c) * tokens,
               parameters=2 * c + c + 5 * hidden + hidden + 7 * c)
    # 3 + 3 + 5 + 5 for the box filters, LayerScale and sum for each of six
    yield _row(f"{name} shifts (6 branches)", depth, elementwise=34 * c * tokens, parameters=6 * 2 * c)


def _down(cfg, stage: int, c: int, wide: int, side: int) -> dict:
    tokens, less, weights = side * side, (side // 2) ** 2, 4 * c * wide
    name = f"down {stage + 1}->{stage + 2} 2x2 conv {c}->{wide}"
    if cfg.downsample == "fp":
        return _row(f"{name} (full precision)", fixed=weights * less, elementwise=2 * c * tokens + 3 * wide * less,
                    parameters=2 * c + weights + 2 * wide + less * wide)
    return _row(f"{name} (binary)", binary=weights * less, bits=weights,
                elementwise=4 * c * tokens + 8 * wide * less,  # norm, move, pooling; scale, norm, sum, RPReLU, position
                parameters=3 * c + 5 * wide + less * wide)


def _row(layer: str, repeat: int = 1, *, binary: int = 0, av: int = 1, fixed: int = 0, elementwise: int = 0,
         bits: int = 0, parameters: int = 0) -> dict:
    return {"layer": layer, "repeat": repeat, "binary_macs": binary, "binary_macs_av3": binary * av,
            "fixed_macs": fixed, "elementwise": elementwise, "binary_weights": bits, "parameters": parameters + bits}
