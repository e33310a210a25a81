"""Frozen network -> QONNX, proved equal to PyTorch by stock qonnx (rung 2), with a sidecar of golden tensors."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx
from onnx import numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from bhvit.errors import CheckFailed
from bhvit.garbage import fewer_collections
from bhvit.model.network import BHViT
from bhvit.model.quantizers import BinaryWeight, FixedConst
from bhvit.model.trace import exponents, run_integers, state_digest

OPSET = 18
INPUT, OUTPUT = "pixels", "logits"


class ExportError(CheckFailed, RuntimeError):
    """The exported graph does not compute what PyTorch computes."""


@fewer_collections()
def export(net: BHViT, path: str | Path, batch: int = 1, check_images: int = 64, golden_images: int = 4,
           images: np.ndarray | None = None) -> dict:
    """Writes `path` (QONNX) and next to it `<stem>.golden.npz` and `<stem>.golden.json`.

    Args: net: frozen network; batch: images per execution of the file; check_images: how many images rung 2 compares;
    golden_images: how many are stored in the sidecar; images: uint8 (N, S, S, Cin) to use, random ones are added when
    there are fewer than `check_images`.
    Returns: the sidecar's facts. Raises: ExportError at the first tensor that differs.
    """
    if net.hw is None:
        raise RuntimeError("only a frozen network can be exported: call freeze(calibration images) first")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    net.eval()
    side, ch = net.config.image_size, net.config.image_channels
    model = _tidy(_traced(net, torch.zeros(1, side, side, ch)))  # nothing traced depends on the batch, but its time
    if batch > 1:
        model = with_batch(model, batch)
    digest = state_digest(net)
    facts = {
        "model": net.config.model_dump(mode="json"), "model_digest": net.config.digest(), "state_digest": digest,
        "logit_exponent": net.logit_exponent, "input": INPUT, "output": OUTPUT,
        "exponents": exponents(net.hw)}
    for key in ("model_digest", "state_digest", "logit_exponent"):
        model.set_metadata_prop(f"bhvit.{key}", str(facts[key]))
    model.set_metadata_prop("bhvit.model", json.dumps(facts["model"]))
    model.save(str(path))
    images = _images(images, max(check_images, golden_images), side, ch)
    facts["checked_images"] = check_equal(_wrap(str(path)), net, images[:check_images])
    logits, trace = run_integers(net, images[:golden_images], trace=True)
    base = path.with_suffix("")
    np.savez_compressed(f"{base}.golden.npz", **{INPUT: images[:golden_images], OUTPUT: logits, **trace})
    Path(f"{base}.golden.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def _images(images: np.ndarray | None, count: int, side: int, ch: int) -> np.ndarray:
    """At least `count` uint8 images, the given ones first."""
    rng = np.random.default_rng(0)
    have = np.zeros((0, side, side, ch), np.uint8) if images is None else np.asarray(images, np.uint8)
    if len(have) < count:
        more = rng.integers(0, 256, (count - len(have), side, side, ch), dtype=np.uint8)
        have = np.concatenate([have, more])
    return have


def _traced(net: BHViT, example: torch.Tensor) -> onnx.ModelProto:
    """Brevitas' TorchScript export of a copy whose constants lie on their grids."""
    hw = copy.deepcopy(net.hw)
    for module in hw.modules():
        if isinstance(module, FixedConst | BinaryWeight):
            module.snap()
    for p in hw.parameters():
        p.requires_grad_(False)
    hw.eval()
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as tmp, warnings.catch_warnings(), torch.no_grad(), \
                contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            file = str(Path(tmp) / "model.onnx")
            export_qonnx(hw, example, file, dynamo=False, opset_version=OPSET, input_names=[INPUT],
                         output_names=[OUTPUT])
            return onnx.load(file)
    finally:
        quiet.setLevel(level)


def _plain(name: str) -> str:
    """Readable name of a traced tensor or node: module path, then operator."""
    name = name.strip("/").removesuffix("_output_0").replace("/", ".")
    for noise in (".quant.export_handler.Quant", ".act_quant.export_handler.BipolarQuant",
                  ".quant.export_handler.BipolarQuant"):
        if name.endswith(noise):
            name = name.removesuffix(noise)
            break
    else:
        return name
    return name.removesuffix(".quant").removesuffix(".q")


def _tidy(model: onnx.ModelProto) -> ModelWrapper:
    """Folds transposed weights, gives every tensor a stable name, infers shapes."""
    graph = model.graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            graph.node.remove(node)
    producer = {o: n for n in graph.node for o in n.output}
    readers: dict[str, int] = {}
    for n in graph.node:
        for i in n.input:
            readers[i] = readers.get(i, 0) + 1
    for node in list(graph.node):
        source = producer.get(node.input[0]) if node.op_type == "Transpose" else None
        if source is None or source.op_type not in ("Quant", "BipolarQuant") or source.input[0] not in values:
            continue
        if readers[node.input[0]] != 1 or readers[source.input[0]] != 1:
            raise ExportError(f"weight {source.input[0]} is used twice; the exporter expects one use")
        perm = next(list(a.ints) for a in node.attribute if a.name == "perm")
        values[source.input[0]] = np.ascontiguousarray(values[source.input[0]].transpose(perm))
        source.output[0] = node.output[0]
        graph.node.remove(node)
    _rename(graph, values)
    model.producer_name, model.producer_version, model.doc_string = "bhvit", "", ""
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    infer_shapes(model)
    return _wrap(model)


def _wrap(model: onnx.ModelProto | str) -> ModelWrapper:
    """qonnx' wrapper without its slow completion of initializer shapes."""
    return ModelWrapper(model, fix_missing_initializer_valueinfo=False)


def infer_shapes(model: onnx.ModelProto) -> None:
    """Writes the shape of every tensor into `value_info`, in place; quantizers keep their input's shape.

    Raises: ExportError when a shape is not static.
    """
    plain = copy.deepcopy(model)
    for node in plain.graph.node:
        if node.op_type in ("Quant", "BipolarQuant"):
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.attribute[:]
    del plain.graph.value_info[:]
    found = onnx.shape_inference.infer_shapes(plain, strict_mode=True, data_prop=True).graph
    del model.graph.value_info[:]
    model.graph.value_info.extend(found.value_info)
    model.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in [*found.value_info, *found.output]}
    for node in model.graph.node:
        for o in node.output:
            if not all(shapes.get(o, [0])):
                raise ExportError(f"no static shape could be inferred for {o}; the exported graph is not static")


def _rename(graph: onnx.GraphProto, values: dict[str, np.ndarray]) -> None:
    """Module paths as names; quantizers share their scalar parameters by value (stock qonnx is slow per tensor)."""
    new: dict[str, str] = {INPUT: INPUT, OUTPUT: OUTPUT}
    taken = set(new.values())
    keep: dict[str, np.ndarray] = {}

    def unique(name: str) -> str:
        base, k = name, 1
        while name in taken:
            k += 1
            name = f"{base}_{k}"
        taken.add(name)
        return name

    for node in graph.node:
        name = _plain(node.name)
        node.name = name
        for o in node.output:
            if o not in new:
                new[o] = unique(_plain(o) if node.op_type not in ("Quant", "BipolarQuant") else name)
    for node in graph.node:
        quant = node.op_type in ("Quant", "BipolarQuant")
        for k, i in enumerate(node.input):
            if i not in values:
                continue
            value = values[i]
            if quant and k > 0:
                label = ("scale", "zero_point", "bit_width")[k - 1]
                name = f"{label}.2e{int(np.log2(value))}" if label == "scale" else f"{label}.{int(value)}"
                keep[name] = np.asarray(value, np.float32).reshape(())
            else:
                name = new.get(i)
                if name is None:
                    name = new[i] = unique(f"{node.name}.value" if quant else f"{node.name}.const{k}")
                keep[name] = value
            node.input[k] = name
        for k, i in enumerate(node.input):
            node.input[k] = new.get(i, i)
        for k, o in enumerate(node.output):
            node.output[k] = new[o]
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in keep.items())


def with_batch(model: ModelWrapper, batch: int) -> ModelWrapper:
    """The same network for another number of images per execution."""
    model = copy.deepcopy(model)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    infer_shapes(model.model)
    return model


@fewer_collections()
def check_equal(model: ModelWrapper, net: BHViT, images: np.ndarray, batch: int | None = None) -> int:
    """Rung 2: stock qonnx against PyTorch, every bit of every quantizer; in batches, as qonnx is slow per node.

    Args: images: uint8 (N, S, S, Cin). Returns: N. Raises: ExportError naming tensor, image and values.
    """
    hidden = net.config.maps[0] ** 2 * net.config.widths[0] * net.config.mlp_ratios[0]
    batch = min(batch or max(1, (1 << 23) // hidden), len(images))
    runner = with_batch(model, batch)
    grid = exponents(net.hw)
    for i in range(0, len(images), batch):
        part = images[i:i + batch]
        padded = np.concatenate([part, np.repeat(part[:1], batch - len(part), 0)])
        logits, trace = run_integers(net, padded, trace=True)
        got = execute(runner, padded)
        wanted = {**trace, OUTPUT: logits}
        # the last quantizer's tensor carries the output's name
        last = next(n for n, m in reversed(list(grid.items())) if n not in got)
        wanted.pop(last)
        for name, ints in wanted.items():
            e = grid.get(name, net.logit_exponent)
            _same(name, got[name], ints, e, i)
    return len(images)


def execute(model: ModelWrapper, images: np.ndarray) -> dict[str, np.ndarray]:
    """Stock qonnx on an exported graph: every tensor by name, float32.

    Args: model: as :func:`load` or :func:`with_batch` gives it; images: uint8 (N, S, S, Cin), N the model's batch.
    """
    # every shape is static (infer_shapes); qonnx would look each one up again, in quadratic time
    model.check_all_tensor_shapes_specified = lambda *_args, **_kwargs: True
    with _environment("SANITIZE_QUANT_TENSORS", "0"):  # there are no annotations, but looking for them is slow
        return execute_onnx(model, {INPUT: images.astype(np.float32)}, return_full_exec_context=True)


def load(path: str | Path) -> ModelWrapper:
    """An exported graph."""
    return _wrap(str(path))


@contextlib.contextmanager
def _environment(key: str, value: str):
    """Sets an environment variable for a while."""
    old = os.environ.get(key)
    os.environ[key] = value
    try:
        yield
    finally:
        if old is None:
            del os.environ[key]
        else:
            os.environ[key] = old


def _same(name: str, got: np.ndarray, ints: np.ndarray, e: int, first: int) -> None:
    real = ints.astype(np.float64) * 2.0**e
    if got.shape == real.shape and np.array_equal(got.astype(np.float64), real):
        return
    if got.shape != real.shape:
        raise ExportError(f"{name}: the exported graph gives shape {got.shape}, PyTorch {real.shape}")
    at = tuple(int(v) for v in np.argwhere(got != real)[0])
    raise ExportError(f"{name}: the exported graph differs from PyTorch in {int((got != real).sum())} elements, first "
                      f"at image {first + at[0]}, index {at[1:]}: {got[at] / 2.0**e} instead of {ints[at]} "
                      f"(units of 2^{e}); "
                      "this is a defect of the exporter or of a tool version, please report it")
