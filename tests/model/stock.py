"""Stock qonnx, without this package, on an exported file: another process."""

import os
import subprocess
import sys

import numpy as np

STOCK = """
import sys
sys.modules["bhvit"] = None            # stock qonnx, nothing of ours
import numpy as np, onnx
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
# its tensors have shapes; completing them is quadratic
model = ModelWrapper(sys.argv[1], fix_missing_initializer_valueinfo=False)
assert {n.domain for n in model.graph.node} <= {"", "qonnx.custom_op.general", "onnx.brevitas"}, "foreign operators"
model.check_all_tensor_shapes_specified = lambda *a, **k: True     # they are; the look-up is quadratic
x = np.load(sys.argv[2]).astype(np.float32)
names = model.graph.input[0].name, model.graph.output[0].name
batch = model.get_tensor_shape(names[0])[0]
out = [execute_onnx(model, {names[0]: x[i:i + batch]})[names[1]] for i in range(0, len(x), batch)]
np.save(sys.argv[3], np.concatenate(out))
"""


def logits(model, images, folder) -> np.ndarray:
    """float32 (N, classes) of uint8 images (N, S, S, Cin), N a multiple of the file's batch."""
    np.save(folder / "x.npy", images)
    subprocess.run([sys.executable, "-c", STOCK, str(model), str(folder / "x.npy"), str(folder / "y.npy")], check=True,
                   env={**os.environ, "SANITIZE_QUANT_TENSORS": "0"})
    return np.load(folder / "y.npy").reshape(len(images), -1)
