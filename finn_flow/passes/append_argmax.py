"""Optional last layer: the index of the largest logit (first maximum), so that one number a frame leaves the device."""

from __future__ import annotations

from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper

from .. import ops
from ..layers.registry import layers


def append_argmax(model: ModelWrapper) -> ModelWrapper:
    """Put an ``argmax`` behind the logits of a hardware graph; its output is UINT (batch, 1, 1)."""
    logits = model.graph.output[0].name
    producer = next(n for n in model.graph.node if logits in n.output)
    stream = ops.layer_from_node(producer).outputs()[list(producer.output).index(logits)]
    layer = layers()["argmax"](classes=stream.channels, bits=stream.dtype.bits)
    node = ops.make_node(layer, [logits], ["top1"], {}, model, "head_argmax")
    model.graph.node.append(node)
    shape = [*model.get_tensor_shape(logits)[:1], 1, 1]
    output = helper.make_tensor_value_info("top1", 1, shape)
    del model.graph.output[:]
    model.graph.output.append(output)
    kept = [v for v in model.graph.value_info if v.name != "top1"]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    if logits not in {v.name for v in kept}:
        model.set_tensor_shape(logits, [shape[0], *stream.dims])
    return model
