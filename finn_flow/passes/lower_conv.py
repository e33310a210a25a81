"""Dilated grouped binary convolutions that share their input: one binary_conv."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from .context import Lowering
from .epilogue import Epilogue, align, final_quants, parse, split
from .forms import ONE, Term
from .match import Graph, LoweringError, attr, label


@dataclass
class Branch:
    """One convolution with its epilogue."""

    conv: NodeProto
    epi: Epilogue
    main: Term
    source: str
    weight: np.ndarray

    @property
    def dilation(self) -> int:
        return int(attr(self.conv, "dilations", [1, 1])[0])

    @property
    def shared(self) -> tuple:
        """What the branches of one layer have in common."""
        return self.weight.shape, self.groups, self.epi.y, self.epi.z.bits

    @property
    def groups(self) -> int:
        return int(attr(self.conv, "group", 1))


def to_nhwc(shape: tuple[int, ...]) -> np.ndarray:
    """Flat positions in (1, C, H, W) of the elements of (1, H, W, C)."""
    return np.arange(int(np.prod(shape))).reshape(shape).transpose(0, 2, 3, 1).reshape(-1)


def to_nchw(shape: tuple[int, ...]) -> np.ndarray:
    """Flat positions in (1, H, W, C) of the elements of (1, C, H, W)."""
    return np.arange(int(np.prod(shape))).reshape(shape).transpose(0, 3, 1, 2).reshape(-1)


def nhwc_source(low: Lowering, tensor: str) -> str | None:
    """The NHWC tensor whose NCHW transpose ``tensor`` is."""
    f = low.form(tensor)
    if len(f.terms) != 1 or not f.const.zero or f.terms[0].coef != ONE:
        return None
    t = f.terms[0]
    shape = low.g.shape(t.root)
    if len(shape) != 4 or f.shape != (shape[0], shape[3], shape[1], shape[2]):
        return None
    index = np.arange(int(np.prod(shape))) if t.index is None else t.index.reshape(-1)  # 1 x 1 maps: the identity
    return t.root if np.array_equal(index, to_nchw(shape)) else None


def is_conv(g: Graph, t: Term) -> bool:
    n = g.producer.get(t.root)
    return n is not None and n.op_type == "Conv" and g.const(n.input[1]) is not None


def branch(low: Lowering, node: NodeProto) -> Branch | None:
    """The Quant ``node`` as a convolution branch, or None."""
    g = low.g
    epi = parse(low, node)
    found = split(epi, lambda t: is_conv(g, t))
    if found is None:
        return None
    main, rest = found
    conv, where = g.producer[main.root], epi.where
    w = g.fixed(conv.input[1])
    if len(conv.input) > 2 or rest or epi.res2 or not epi.act:
        raise LoweringError(f"{where}: a convolution branch is Quant(RPReLU(Quant(conv * m + o))) without residuals")
    if main.index is None or not np.array_equal(main.index.reshape(-1), to_nhwc(g.shape(main.root))):
        raise LoweringError(f"{where}: the convolution's result must be transposed to (B, H, W, C)")
    source = nhwc_source(low, conv.input[0])
    typed = low.type_of(source) if source else None
    if typed is None or not typed[0].bipolar or w.e or (abs(w.i) != 1).any():
        raise LoweringError(f"{label(conv)}: only +-1 maps and +-1 weights have a convolution layer")
    d, k = attr(conv, "dilations", [1, 1]), w.i.shape[2]
    pads, strides = attr(conv, "pads", [0] * 4), attr(conv, "strides", [1, 1])
    if w.i.shape[2] != w.i.shape[3] or d[0] != d[1] or list(strides) != [1, 1] or list(pads) != [d[0] * (k // 2)] * 4:
        raise LoweringError(f"{label(conv)}: needs a square kernel, stride 1 and 'same' padding")
    return Branch(conv, epi, main, source, w.i)


def add_tree(g: Graph, tensors: set[str]) -> str | None:
    """The tensor that is exactly the sum of ``tensors``, each used once."""
    current = set(tensors)
    while len(current) > 1:
        for t in sorted(current):
            n = g.only_consumer(t)
            if n is not None and n.op_type in ("Add", "Sum") and set(n.input) <= current:
                current = (current - set(n.input)) | {n.output[0]}
                break
        else:
            return None
    return current.pop()


def lower_conv(low: Lowering) -> int:
    """Groups the branches by their input; the exact sum of a group is the output of the layer."""
    g, groups = low.g, {}
    for node in final_quants(low):
        if (b := branch(low, node)) is not None:
            groups.setdefault(b.source, []).append(b)
    for source, found in groups.items():
        outs = {b.epi.node.output[0] for b in found}
        total, where = add_tree(g, outs), found[0].epi.where
        if total is None:
            names = ", ".join(sorted(outs))
            raise LoweringError(f"{where}: the branches {names} over {source} must be added up, and nothing else")
        emit_conv(low, found, total, where)
    return len(groups)


def emit_conv(low: Lowering, found: list[Branch], total: str, where: str) -> None:
    """One layer for branches that differ in dilation and constants only."""
    found = sorted(found, key=lambda b: b.dilation)
    first = found[0]
    _, h, w, cin = low.g.shape(first.source)
    cout = first.weight.shape[0]
    attrs, consts = [], []
    for b in found:
        a, c, _ = align(low, b.epi, b.main, 0, [], cout)
        if b.shared != first.shared:
            raise LoweringError(f"{b.epi.where}: differs from {where} in shape, groups or quantizers; the branches of "
                                "one sum share them")
        attrs.append(a)
        consts.append({**c, "w": b.weight})
    merged = {k: max(a[k] for a in attrs) for k in ("m_bits", "o_bits", "slope_bits", "o2_bits")}
    layer = low.layer(
        "binary_conv", where, height=h, width=w, in_channels=cin, out_channels=cout, groups=first.groups,
        kernel=first.weight.shape[2], dilations=[b.dilation for b in found], act=1, z_bits=first.epi.z.bits,
        out_bits=first.epi.y.bits, sh1=[a["sh1"] for a in attrs], sh2=[a["sh2"] for a in attrs], **merged)
    stacked = {k: np.stack([c[k] for c in consts]) for k in consts[0]}
    low.emit_at(layer, [first.source], [total], stacked, where, [0], [first.epi.y.exp])
