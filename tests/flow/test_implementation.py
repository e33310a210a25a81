"""RTL or HLS, node by node: the build file's choice, the list of what every node takes, nodes without Verilog."""

from __future__ import annotations

import io
import json
import re
import shutil

import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import build, graph, implementation, ops, stitch
from bhvit.finn_flow.build_steps import STEPS, Step
from bhvit.finn_flow.config import load_config
from bhvit.finn_flow.hls.generate import source
from bhvit.finn_flow.hls.vitis.rtl import HlsRtl, HlsRtlError

from . import networks
from .test_stitch import FOLDINGS, streaming

UNTIL_FOLDED = [s for s in STEPS if s.name in ("step_specialize_layers", "step_bhvit_fold")]
SIZE_AND_STITCH = [s for s in STEPS if s.name in ("step_bhvit_size_fifos", "step_bhvit_stitch")]


def toy(_ctx, _model):
    return ops.to_integers(networks.residual())


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(implementation, backend) -> log of a build of the toy network."""
    steps = (Step("step_toy", toy, checked=False),
             *(Step(s.name, s.run, s.settings, s.outputs, checked=False) for s in [*UNTIL_FOLDED, *SIZE_AND_STITCH]))
    (tmp_path / "net.yaml").write_text("")
    monkeypatch.setattr("bhvit.finn_flow.build_key.code_digest", lambda _part: "code")

    def call(choice: str = "{}", backend: str = "open") -> str:
        file = tmp_path / "build.yaml"
        file.write_text("model: net.yaml\nweights: {random: 1}\nboard: ZCU104\ntarget_cycles: 100\n"
                        f"backend: {backend}\nimplementation: {choice}\n")
        log = io.StringIO()
        try:
            build.build(load_config(file), tmp_path / "out", steps=steps, echo=log)
        except UserError as e:
            return f"{log.getvalue()}{e}"
        return log.getvalue()

    return call


def listed(tmp_path) -> dict:
    return json.loads((tmp_path / "out/report/implementation.json").read_text())


def test_every_node_is_listed(run, tmp_path):
    log = run(backend="vivado")
    data = listed(tmp_path)
    model = ops.load(tmp_path / "out/stitched_ip/graph.onnx")
    assert set(data["nodes"]) == {n.name for n in model.graph.node} and data["backend"] == "vivado"
    assert data["count"] == {"rtl": len(model.graph.node)}
    assert data["nodes"]["sign"] == {"layer": "threshold", "implementation": "rtl"}
    for n in model.graph.node:
        assert n.name in log, "the log names every node"
    assert "rtl  threshold (1): sign" in log


def test_choice_by_kind_and_by_node(run, tmp_path):
    """The node before the kind; width converters, which come later, by kind; refused before anything is simulated."""
    log = run("{threshold: hls, mix: hls, duplicate: hls, stem_out0_fork: rtl, width_converter: hls}")
    data = listed(tmp_path)["nodes"]
    chosen = {n for n, v in data.items() if v["implementation"] == "hls"}
    assert {"sign", "mix", "bn_out0_fork"} <= chosen and not {"stem_out0_fork", "stem", "bn"} & chosen
    assert {n for n, v in data.items() if v["layer"] == "width_converter"} < chosen
    assert data["sign"] == {"layer": "threshold", "implementation": "hls", "verilog": None}
    assert "hls  threshold (1): sign" in log and "unlimited depths" not in log
    for text in ("nodes are to be HLS, and their Verilog does not exist", "threshold", "bn_out0_fork",
                 "bhvit hls cosim binary_linear", "as rtl (`implementation` in the build file)", "bhvit hls network"):
        assert text in log, text
    folded = ops.load(tmp_path / "out/intermediate_models/step_bhvit_fold.onnx")
    assert {n.op_type for n in folded.graph.node if n.name in ("sign", "mix", "bn")} == {
        "BvThreshold_hls", "BvBinaryLinear_hls", "BvAffine_rtl"}


@pytest.mark.parametrize("choice, words", [
    ("{threshhold: hls}", ["`threshhold`, which is neither a layer nor a node", "did you mean threshold", "affine"]),
    ("{sgin: hls}", ["did you mean sign"]),
    ("{fifo: hls}", ["cannot choose for `fifo`", "always RTL"]),
    ("{add: hls}", ["cannot choose for `add`", "has no HLS kernel"]),
    ("{join_0: hls}", ["cannot choose for `join_0`", "the layer add has no HLS kernel"]),
])
def test_names_that_do_not_exist(run, choice, words, monkeypatch):
    monkeypatch.setattr(implementation, "has_kernel", lambda cls: cls.stem != "add")  # such as a layer of one's own
    log = run(choice)
    for w in words:
        assert w in log


def test_values_that_do_not_exist(run):
    log = run("{threshold: vhdl}")
    for text in ("implementation.threshold", "should be 'rtl' or 'hls'", "by layer kind or node name"):
        assert text in log


def test_stitching_alone_refuses_too(tmp_path):
    model = streaming(networks.residual(), depth=32, **FOLDINGS)
    ops.implement(next(n for n in model.graph.node if n.name == "sign"), "hls")
    graph.check_streaming(model)
    with pytest.raises(UserError, match="1 nodes are to be HLS"):
        stitch.stitch(model, tmp_path / "ip")


def test_verilog_in_the_build_folder(run, tmp_path):
    """What `bhvit hls cosim sign --build` leaves is taken, unless the node was another one then."""
    assert "does not exist" in run("{sign: hls}")
    out = tmp_path / "out"
    model = ops.load(out / "intermediate_models/step_bhvit_fold.onnx")
    node = next(n for n in model.graph.node if n.name == "sign")
    layer, constants = ops.layer_of(node, model)
    project = out / "hls" / "sign"
    (project / "prj/solution1/syn/verilog").mkdir(parents=True)
    (project / "sign.cpp").write_text(source(layer, "sign", constants))
    _as_vitis(layer, constants, project / "prj/solution1/syn/verilog")
    assert implementation.verilog_of(node, model, out) == project
    log = run("{sign: hls}")
    assert f"sign takes the Verilog of Vitis HLS in {project}" in log
    assert listed(tmp_path)["nodes"]["sign"]["verilog"] == str(project)
    assert stitch.Design.load(out / "stitched_ip").nodes["sign"]["implementation"] == "Vitis HLS"
    assert run("{sign: hls}").count("Keeping step") == 5

    (project / "result.json").write_text('{"ok": false, "why": "cosim: mismatch sign out0 7", "digest": "0"}')
    log = run("{sign: hls}")
    assert "An HLS node did not pass in Vitis." in log and "mismatch sign out0 7" in log
    with pytest.raises(HlsRtlError, match="did not pass"):
        HlsRtl.load(project / "prj/solution1/syn/verilog", "sign")
    (project / "result.json").write_text('{"ok": true, "why": null, "digest": "0"}')
    assert "did not pass" not in run("{sign: hls}")

    (project / "include/bhvit").mkdir(parents=True)
    (project / "include/bhvit/core.hpp").write_text("// a kernel that has been mended since")
    assert implementation.verilog_of(node, model, out) is None
    shutil.rmtree(project / "include")
    (project / "sign.cpp").write_text(source(layer, "sign", {**constants, "pol": 1 - constants["pol"]}))
    assert implementation.verilog_of(node, model, out) is None
    shutil.rmtree(out / "steps")
    assert "does not exist" in run("{sign: hls}")


def _as_vitis(layer, constants, folder) -> None:
    """The node's own RTL under names of its own, as a stand-in for what Vitis HLS writes."""
    from bhvit.finn_flow.wrapper import memory_files, sources, wrapper

    text = wrapper(layer, "sign", constants) + "".join(f.read_text() for f in sources(type(layer)))
    text = re.sub(r"\bbv_", "sign_bv_", text)
    for name, rows in memory_files(layer, "sign", constants).items():
        (folder / name).with_suffix(".dat").write_text("\n".join(rows) + "\n")
        text = text.replace(name, str(folder / name.replace(".mem", ".dat")))
    (folder / "sign.v").write_text(text)
