"""The exported file: equal to PyTorch, readable, free of machine paths; and its check can fail."""

import json

import numpy as np
import onnx
import pytest
import stock
import torch
from onnx import numpy_helper

from bhvit.model import reference, weights
from bhvit.model.export import ExportError, check_equal, export
from bhvit.model.network import BHViT
from bhvit.model.trace import exponents, run_integers, state_digest

# the other network goes through the export in tests/flow/test_lower_network.py
pytestmark = pytest.mark.parametrize("frozen", ["variant", pytest.param("nano", marks=pytest.mark.full)], indirect=True,
                                     scope="session")


@pytest.fixture(scope="module")
def exported(frozen, tmp_path_factory):
    _, net, images = frozen
    path = tmp_path_factory.mktemp("export") / "net.onnx"
    facts = export(net, path, batch=16, check_images=18, golden_images=2, images=images.numpy().astype(np.uint8))
    return net, path, facts


def test_export_is_checked_and_complete(exported):
    net, path, facts = exported
    assert facts["checked_images"] == 18
    model = onnx.load(path)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model), full_check=False)
    assert {o.domain for o in model.opset_import} == {"", "qonnx.custom_op.general"}
    tensors = {o for n in model.graph.node for o in n.output}
    for name in exponents(net.hw):
        assert name in tensors or name == "head.classifier.logits"
    text = path.read_bytes()
    for word in (b"/work", b"/home", b"/tmp", b"site-packages", b".py"):
        assert word not in text


def test_sidecar(exported):
    net, path, facts = exported
    golden = np.load(path.with_suffix("").with_name("net.golden.npz"))
    about = json.loads(path.with_name("net.golden.json").read_text())
    assert about == json.loads(json.dumps(facts))
    assert about["state_digest"] == state_digest(net)
    logits, trace = run_integers(net, golden["pixels"], trace=True)
    assert np.array_equal(golden["logits"], logits)
    assert set(golden.files) == {"pixels", "logits", *trace}
    assert all(np.array_equal(golden[k], v) for k, v in trace.items())


def test_stock_qonnx_equals_pytorch(exported, frozen, tmp_path):
    net, path, facts = exported
    images = frozen[2].numpy().astype(np.uint8)
    got = stock.logits(path, images, tmp_path)
    assert np.array_equal(got, run_integers(net, images)[0].reshape(len(images), -1) * 2.0 ** facts["logit_exponent"])
    assert len(images) == 16 and len(np.unique(got, axis=0)) > 12


def test_constants_state_width_and_exponent(exported):
    _, path, _ = exported
    graph = onnx.load(path).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    found = 0
    for node in graph.node:
        if node.op_type != "Quant":
            continue
        attributes = {a.name: a for a in node.attribute}
        assert attributes["rounding_mode"].s == b"FLOOR" and attributes["narrow"].i == 0
        scale, zero, bits = (values[i] for i in node.input[1:])
        assert np.log2(scale) == np.rint(np.log2(scale)) and zero == 0 and 2 <= bits <= 24
        if node.input[0] in values:
            ints = values[node.input[0]] / scale
            assert np.array_equal(ints, np.rint(ints)), node.name
            found += 1
    assert found > 200


def test_check_can_fail(exported):
    net, path, _ = exported
    images = np.zeros((1, *([net.config.image_size] * 2), net.config.image_channels), np.uint8)
    model = onnx.load(path)
    for t in model.graph.initializer:
        if t.name == "stages.2.0.query.epilogue.m.value":
            array = numpy_helper.to_array(t).copy()
            array[3] *= -1
            t.CopyFrom(numpy_helper.from_array(array, t.name))
    from bhvit.model.export import _wrap

    with pytest.raises(ExportError, match=r"stages\.2\.0\.query\.epilogue\.z.*image 0"):
        check_equal(_wrap(model), net, images)


def test_unfrozen_network_is_refused(exported, tmp_path):
    with pytest.raises(RuntimeError, match="freeze"):
        export(BHViT(exported[0].config), tmp_path / "x.onnx")


def test_reference_process(frozen, tmp_path, capsys):
    import yaml

    _, net, images = frozen
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(net.config.model_dump(mode="json")))
    file = tmp_path / "w.safetensors"
    weights.save(file, net.deployed_state(), net.config)
    np.save(tmp_path / "i.npy", images.numpy().astype(np.uint8))
    args = ["--model", f"{tmp_path}/m.yaml", "--weights", str(file), "--images", f"{tmp_path}/i.npy", "--out",
            f"{tmp_path}/o.npz", "--trace", "--batch", "7"]
    assert reference.main(args) == 0
    out = np.load(tmp_path / "o.npz")
    logits, trace = run_integers(net, images, trace=True)
    assert np.array_equal(out["logits"], logits) and out["logit_exponent"] == net.logit_exponent
    name = next(iter(trace))
    assert np.array_equal(out[f"trace/{name}"], trace[name]) and f"exponent/{name}" in out.files
    with torch.no_grad():
        assert np.array_equal(net(images).numpy(), logits * 2.0**net.logit_exponent)
    capsys.readouterr()
    assert reference.main([*args[:4], "--images", f"{tmp_path}/none.npy", "--out", "x"]) == 2
    assert "none.npy does not exist" in capsys.readouterr().err
    np.save(tmp_path / "i.npy", images.numpy())
    assert reference.main(args) == 2
    assert "expected uint8" in capsys.readouterr().err
