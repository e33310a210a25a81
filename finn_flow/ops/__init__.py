"""FINN custom ops, derived from the layer declarations.

For every registered layer of stem ``some_layer`` importing this module registers in FINN's own domains

* ``BvSomeLayer``      (HWCustomOp, domain ``finn.custom_op.fpgadataflow``), what lowering creates,
* ``BvSomeLayer_rtl``  (RTLBackend, domain ``finn.custom_op.fpgadataflow.rtl``) and
* ``BvSomeLayer_hls``  (HLSBackend, domain ``finn.custom_op.fpgadataflow.hls``), made by ``SpecializeLayers``: RTL
  unless the node's ``preferred_impl_style`` says ``hls``.

The prefix keeps them apart from FINN's own ops (FINN has a ``LayerNorm`` and a ``Lookup`` too). Node attributes are the
fields of the declaration, plus ``in_exp`` and ``out_exp``: one exponent per stream, value = integer * 2**exp. During
lowering tensors hold values, so that every intermediate graph can be compared with the exported one;
:func:`to_integers` then sets all exponents to zero. The node inputs are the streams
followed by one initializer per constant, in the order of ``layer.constants()``.
A stream's tensor has shape ``(batch, *dims)``.

    node = make_node(Threshold(dims=[4, 6]), ["x"], ["y"], {"t": t, "pol": pol}, model, "thr0", in_exp=[-4])
    model.graph.node.append(node)
    layer, constants = layer_of(node, model)
    y = execute(model, {"x": frames})["y"]        # any number of frames at once, golden models
"""

from .. import finn_env

finn_env.setup()

from . import finn_ops  # noqa: E402, F401  registers the ops
from .execution import NotInteger, annotate, execute, run_golden, to_int, to_integers  # noqa: E402
from .nodes import (  # noqa: E402
    HLS,
    HW,
    PREFIX,
    RTL,
    ModelWrapper,
    implement,
    implementation,
    is_layer,
    layer_class,
    layer_from_node,
    layer_of,
    load,
    make_layer,
    make_node,
    new_model,
    op_type,
    refold,
    set_layer,
    stream_inputs,
)

__all__ = ["HLS", "HW", "PREFIX", "RTL", "ModelWrapper", "NotInteger", "annotate", "execute", "implement",
           "implementation", "is_layer", "layer_class", "layer_from_node", "layer_of", "load", "make_layer",
           "make_node", "new_model", "op_type", "refold", "run_golden", "set_layer", "stream_inputs", "to_int",
           "to_integers"]
