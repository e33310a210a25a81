"""Reference values of every tensor of an exported graph, on real or random images.

Stock qonnx executes node by node (about 4 ms each). Here FLOOR quantizers are written out in standard ONNX operations,
which onnxruntime executes in one session with all tensors exposed; a test compares the two executions.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper

from .match import Graph


def plain_onnx(model: ModelWrapper, tensors: Iterable[str]) -> ModelProto:
    """A copy without QONNX operations whose outputs are ``tensors``."""
    g = Graph(model)
    out = ModelProto()
    out.CopyFrom(model.model)
    nodes, extra = [], []

    def const(name: str, value: float | np.ndarray) -> str:
        extra.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    for k, n in enumerate(model.graph.node):
        x, y = (n.input[0] if n.input else ""), n.output[0]
        if n.op_type == "Quant":
            q = g.quantizer(n)
            t = [f"{y}__q{i}" for i in range(3)]
            s = const(f"q{k}_scale", 2.0**q.exp)
            lo = const(f"q{k}_min", q.dtype.min + int(q.narrow and q.signed))
            hi = const(f"q{k}_max", q.dtype.max)
            nodes += [helper.make_node("Div", [x, s], [t[0]]), helper.make_node("Floor", [t[0]], [t[1]]),
                      helper.make_node("Clip", [t[1], lo, hi], [t[2]]), helper.make_node("Mul", [t[2], s], [y])]
        elif n.op_type == "BipolarQuant":
            zero, one, minus = (const(f"b{k}_{v:+d}", v) for v in (0, 1, -1))
            t = [f"{y}__b{i}" for i in range(2)]
            nodes += [helper.make_node("GreaterOrEqual", [x, zero], [t[0]]),
                      helper.make_node("Where", [t[0], one, minus], [t[1]]),
                      helper.make_node("Mul", [t[1], n.input[1]], [y])]
        else:
            nodes.append(n)
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    out.graph.initializer.extend(extra)
    del out.graph.value_info[:]
    del out.graph.output[:]
    out.graph.output.extend(helper.make_empty_tensor_value_info(t) for t in tensors)
    kept = [o for o in out.opset_import if o.domain in ("", "ai.onnx")]
    del out.opset_import[:]
    out.opset_import.extend(kept)
    return out


def reference(model: ModelWrapper, images: np.ndarray) -> dict[str, np.ndarray]:
    """All non-constant tensors by name, each (N, ...) with the batch of ``images`` in front.

    Args:
        model: exported graph of batch 1 (or of a fixed batch that divides N). images: (N, H, W, C).
    """
    g = Graph(model)
    (name,) = g.inputs
    batch = g.shape(name)[0] or 1
    tensors = [t for n in g.nodes() for t in n.output if t and g.const(t) is None]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(plain_onnx(model, tensors).SerializeToString(), options,
                                   providers=["CPUExecutionProvider"])
    elem = next(i for i in model.graph.input if i.name == name).type.tensor_type.elem_type
    kind = helper.tensor_dtype_to_np_dtype(elem) if elem != TensorProto.UNDEFINED else np.float32
    shape = g.shape(name)
    parts = [session.run(None, {name: np.asarray(images[i:i + batch], kind).reshape(shape)})
             for i in range(0, len(images), batch)]
    ref = {t: np.concatenate([np.asarray(p[k]).reshape(batch, *_frame(p[k], batch)) for p in parts])
           for k, t in enumerate(tensors)}
    ref[name] = np.asarray(images).reshape(-1, *shape[1:])
    return ref


def _frame(x: np.ndarray, batch: int) -> tuple[int, ...]:
    """Shape of one image's part; tensors whose first axis merges batch and windows are split."""
    return (x.shape[0] // batch, *x.shape[1:]) if x.ndim and x.shape[0] != batch else x.shape[1:]
