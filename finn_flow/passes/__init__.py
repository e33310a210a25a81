"""Lowering from the exported QONNX graph to hardware layers: ``lower``, then ``plan_rows``."""
