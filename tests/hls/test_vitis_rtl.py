"""Verilog as Vitis HLS writes it, in the place of a node of the stitched simulation."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import build, cosim, graph, ops, stitch
from bhvit.finn_flow.hls.vitis.rtl import HlsRtl, HlsRtlError, check_names
from bhvit.finn_flow.sim.design import DesignSim
from bhvit.finn_flow.sim.verilate import Stalls
from tests.flow import networks
from tests.flow.test_stitch import streaming

HERE = Path(__file__).parent / "verilog"


def network():
    """The residual network; `sign` has one channel per beat, so that the Verilog of this folder fits, and thresholds
    that its data meets.
    """
    model = networks.residual()
    u = ops.execute(model, {"pixels": networks.pixels(model, 12)}, keep=["u"])["u"]
    model.set_initializer("sign_t", np.sort(u.reshape(-1, u.shape[-1]), axis=0)[len(u) * 6][None].astype(np.int16))
    return streaming(model, depth=64, stem={"PE": 2, "SIMD": 3}, mix={"PE": 4, "SIMD": 8})


def node(model):
    return next(n for n in model.graph.node if n.name == "sign")


@pytest.fixture
def project(tmp_path):
    """What `bhvit hls cosim sign --build ...` leaves, with this folder's Verilog and the constants of the network."""
    folder = tmp_path / "project"
    shutil.copytree(HERE, folder / "prj/solution1/syn/verilog")
    layer, constants = ops.layer_of(node(network()), network())
    (image,) = layer.memories(constants).values()
    data = folder / "prj/solution1/syn/verilog/sign_sign_threshold_ROM_AUTO_1R.dat"
    data.write_text("\n".join(image.hex_lines()) + "\n")
    # the tool writes ./ before the name; here it would be taken for a generated file by FINN's ReplaceVerilogRelPaths
    edit(folder, '$readmemh("', '$readmemh("./', "sign_sign_threshold_ROM_AUTO_1R.v")
    return folder


def edit(project: Path, old: str, new: str, name: str = "sign.v") -> None:
    file = project / "prj/solution1/syn/verilog" / name
    assert file.read_text().count(old) >= 1
    file.write_text(file.read_text().replace(old, new))


def test_stitched_simulation_with_hls_verilog_is_exact(project, tmp_path):
    model = network()
    x = networks.pixels(model, 6)
    want = ops.execute(model, {"pixels": x})["logits"]
    design = stitch.stitch(model, tmp_path / "stitched_ip", {"sign": project})
    assert design.nodes["sign"]["implementation"] == "Vitis HLS" and "implementation" not in design.nodes["mix"]
    names = {f.name for f in design.sources}
    assert {"sign.v", "sign_regslice_both.v", "sign_sign_threshold_ROM_AUTO_1R.v"} <= names
    assert "bv_threshold.sv" not in names, "the kernel is not in the design"
    assert (design.memories / "sign_sign_threshold_ROM_AUTO_1R.dat").exists()
    sim = DesignSim(design, tmp_path / "sim", optimize="-O0")
    cycles = []
    for stalls in (Stalls(), Stalls(seed=3, input_percent=30, output_percent=50)):
        result, _ = sim.run(x, stalls=stalls)
        assert result.status == 0, result.log
        assert np.array_equal(result.outputs[0], want) and len(np.unique(want)) > 20
        cycles.append(result.cycles)
    plain = stitch.stitch(model, tmp_path / "plain_ip")
    ours = DesignSim(plain, tmp_path / "sim", optimize="-O0").run(x)[0].cycles
    assert ours < cycles[0] < cycles[1], "it is the Verilog that ran: two cycles for a beat"


@pytest.mark.parametrize("old, new", [
    (">= $signed(thresholds_q0", "> $signed(thresholds_q0"), ("(f_fu_42 + 3'd1)", "(f_fu_42 + 3'd3)")])
def test_wrong_hls_verilog_is_named(project, tmp_path, old, new):
    edit(project, old, new)
    model = network()
    x = networks.pixels(model, 12)
    want = ops.execute(model, {"pixels": x})["logits"].reshape(12, -1)
    stitch.stitch(model, tmp_path / "ip", {"sign": project})
    out = cosim.cosim(tmp_path / "ip", tmp_path / "sim", cosim.Reference(x, want), clock_mhz=100, quiet=True,
                      optimize="-O0")
    assert not out["ok"]
    assert out["difference"]["layer"] == "sign", out["message"]


def test_ports_of_other_releases(project):
    layer = ops.layer_from_node(node(network()))
    folder = project / "prj/solution1/syn/verilog"
    edit(project, "in0_V_T", "in0_T")
    edit(project, "out0_V_T", "out0_V_V_T")
    edit(project, "ap_rst_n", "ap_rst")
    text = HlsRtl.load(project, "sign").wrapper(layer)
    assert ".in0_TDATA(in0_V_TDATA)" in text and ".out0_V_V_TVALID(out0_V_TVALID)" in text
    assert ".ap_rst(!ap_rst_n)" in text
    for place in ("work/hls/syn/verilog", "project_sign/sol1/impl/verilog", "."):  # unified, FINN, the folder itself
        other = project.parent / place.replace("/", "_").strip(".") / place
        shutil.copytree(folder, other, dirs_exist_ok=True)
        root = project.parent / place.replace("/", "_").strip(".")
        assert HlsRtl.load(root if place != "." else folder, "sign").top == "sign"


@pytest.mark.parametrize("old, new, what", [
    ("[7:0] in0_V_TDATA;", "[15:0] in0_V_TDATA;", "does not fit the node `sign`"),
    ("in0_V_T", "pixels_T", "has no port for in0"),
    ("input   ap_clk;", "input   ap_clk;\ninput   ap_start;", "waits to be started"),
    ("input   ap_clk;", "input   ap_clk;\ninput [3:0] gain;", "ports that the node does not have"),
    ("output   out0_V_TVALID;", "", "lacks ports"),
    ("module sign (", "module other (", None)])
def test_verilog_that_does_not_fit(project, tmp_path, old, new, what):
    edit(project, old, new)
    rtl = HlsRtl.load(project, "sign")
    if what is None:
        assert rtl.top == "other", "the only module that no other uses"
        return
    with pytest.raises(HlsRtlError, match=what):
        rtl.wrapper(ops.layer_from_node(node(network())))


def test_folders_without_a_usable_top(project, tmp_path):
    with pytest.raises(HlsRtlError, match="does not exist"):
        HlsRtl.load(tmp_path / "nothing", "sign")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HlsRtlError, match="holds no Verilog"):
        HlsRtl.load(tmp_path / "empty", "sign")
    verilog = project / "prj/solution1/syn/verilog"
    (verilog / "more.v").write_text("module more ();\nendmodule\n")
    with pytest.raises(HlsRtlError, match="not clear which module stands for `theta`"):
        HlsRtl.load(project, "theta")
    (verilog / "sign_fadd_ip.tcl").write_text("")
    with pytest.raises(HlsRtlError, match="the vendor's cores"):
        HlsRtl.load(project, "sign")


def test_one_name_space(project, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(project, other)
    a, b = HlsRtl.load(project, "sign"), HlsRtl.load(other, "sign")
    object.__setattr__(b, "node", "second")
    check_names([a, b], [])
    edit(other, "reg [1:0] state;", "reg [1:0] state, more;", "sign_regslice_both.v")
    with pytest.raises(HlsRtlError, match="define `sign_regslice_both` differently"):
        check_names([a, b], [])


def test_unknown_node(project, tmp_path):
    with pytest.raises(UserError, match="does not have: `sing`") as e:
        stitch.stitch(network(), tmp_path / "ip", {"sing": project})
    assert "did you mean" in e.value.do


def test_build_takes_it_from_the_build_file(project, tmp_path, monkeypatch):
    """`hls_rtl` of a build file: FIFO sizing and the design use the Verilog, and its changes are noticed."""
    from bhvit.finn_flow.build_steps import STEPS, Step
    from bhvit.finn_flow.config import load_config

    def network_of_test(ctx, _model):
        model = ops.to_integers(networks.residual())
        return graph.specialize(graph.insert_duplicates(model), networks.PART)

    steps = (Step("step_toy", network_of_test, checked=False), *(s for s in STEPS if s.name in (
        "step_bhvit_size_fifos", "step_bhvit_stitch")))
    steps = (steps[0], *(Step(s.name, s.run, s.settings, s.outputs, checked=False) for s in steps[1:]))
    (tmp_path / "net.yaml").write_text("")
    file = tmp_path / "build.yaml"
    file.write_text("model: net.yaml\nweights: {random: 1}\nboard: ZCU104\ntarget_cycles: 100\n"
                    "hls_rtl: {sign: project}\n")
    config = load_config(file)
    assert config.hls_rtl == {"sign": project}
    log = io.StringIO()
    build.build(config, tmp_path / "out", steps=steps, echo=log)
    assert f"sign takes the Verilog of Vitis HLS in {project}" in log.getvalue()
    assert stitch.Design.load(tmp_path / "out/stitched_ip").nodes["sign"]["implementation"] == "Vitis HLS"
    build.build(config, tmp_path / "out", steps=steps, echo=(log := io.StringIO()))
    assert log.getvalue().count("Keeping step") == 3
    edit(project, "Written by hand", "Changed")
    build.build(config, tmp_path / "out", steps=steps, echo=(log := io.StringIO()))
    assert "Keeping step: step_toy" in log.getvalue() and "Running step: step_bhvit_size_fifos" in log.getvalue()
