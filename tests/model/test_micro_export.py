"""Rung 2 for the shipped network: stock qonnx, without this package, on 64 digits test images."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from bhvit.model import data, weights
from bhvit.model.config import load_config
from bhvit.model.export import export
from bhvit.model.network import BHViT
from bhvit.model.trace import run_integers

ROOT = Path(__file__).parents[2]
IMAGES, BATCH = 64, 32
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


def test_stock_qonnx_equals_pytorch_on_test_images(tmp_path):
    cfg = load_config(ROOT / "configs" / "model" / "bhvit_micro.yaml")
    net = BHViT.from_deployed(cfg, weights.load(ROOT / "model" / "weights" / "bhvit_micro.safetensors", cfg))
    images = data.load("digits@test", cfg.image_size, cfg.image_channels).images[:IMAGES]
    assert len(images) == IMAGES
    facts = export(net, tmp_path / "micro.onnx", batch=BATCH, check_images=1, golden_images=1, images=images)
    np.save(tmp_path / "x.npy", images)
    subprocess.run([sys.executable, "-c", STOCK, str(tmp_path / "micro.onnx"), str(tmp_path / "x.npy"),
                    str(tmp_path / "y.npy")], check=True, env={**os.environ, "SANITIZE_QUANT_TENSORS": "0"})
    got = np.load(tmp_path / "y.npy").reshape(IMAGES, -1)
    want, _ = run_integers(net, images)
    assert np.array_equal(got, want.reshape(IMAGES, -1) * 2.0 ** facts["logit_exponent"])
    assert len(np.unique(got, axis=0)) == IMAGES
