"""HLS variants of the FINN ops: registration, the choice between RTL and HLS, cppsim through g++, what rtlsim needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qonnx.custom_op.registry import getCustomOp

from bhvit.errors import UserError
from bhvit.finn_flow import finn_env, ops
from bhvit.finn_flow.hls.cppsim import CppsimFailed, Instance, compile_nodes, run_node
from bhvit.finn_flow.hls.generate import has_kernel
from bhvit.finn_flow.layers.add import Add
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.shift import Shift
from bhvit.finn_flow.layers.threshold import Threshold

from .networks import PART
from .test_ops import single

finn_env.setup()

from finn.core.onnx_exec import execute_onnx  # noqa: E402
from finn.transformation.fpgadataflow.compile_cppsim import CompileCppSim  # noqa: E402
from finn.transformation.fpgadataflow.prepare_cppsim import PrepareCppSim  # noqa: E402
from finn.transformation.fpgadataflow.prepare_ip import PrepareIP  # noqa: E402
from finn.transformation.fpgadataflow.prepare_rtlsim import PrepareRTLSim  # noqa: E402
from finn.transformation.fpgadataflow.set_exec_mode import SetExecMode  # noqa: E402
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers  # noqa: E402


def hls(layer, frames: int, style: str = "hls", **exps):
    """A graph of one specialized node, and its inputs as FINN takes them."""
    model, constants, x = single(layer, frames, **exps)
    getCustomOp(model.graph.node[0]).set_nodeattr("preferred_impl_style", style)
    model = model.transform(SpecializeLayers(PART))
    model.graph.node[0].name = "n0"
    return model, constants, x


def feed(x):
    return {f"x{i}": v.astype(np.float32) for i, v in enumerate(x)}


def test_every_layer_in_cppsim(tmp_path):
    """One program with every registered layer; each node executed by FINN, equal to its golden model."""
    made, instances = {}, []
    assert sum(map(has_kernel, layers().values())) >= 23
    for stem, cls in layers().items():
        if not has_kernel(cls):
            continue
        attrs = next(a for a in cls.examples() if not (stem == "shift" and a.get("ext") == 0))
        model, constants, x = hls(cls(**attrs), 2)
        node = model.graph.node[0]
        assert node.op_type == f"{ops.op_type(cls)}_hls" and node.domain == ops.HLS
        assert ops.is_layer(node) and ops.layer_class(node) is cls
        made[stem] = model, constants, x
        instances.append(Instance(stem + "_node", ops.layer_from_node(node), constants))
    exe = compile_nodes(instances, tmp_path / "all")
    for stem, (model, constants, x) in made.items():
        op = getCustomOp(model.graph.node[0])
        for k, v in (("exec_mode", "cppsim"), ("executable_path", str(exe)), ("cppsim_node", stem + "_node")):
            op.set_nodeattr(k, v)
        got = execute_onnx(model, feed(x))
        for i, want in enumerate(op.layer().golden(x, constants)):
            assert np.array_equal(got[f"y{i}"], want), stem
            assert len(np.unique(want)) > 1, f"{stem} tests nothing"


@pytest.mark.parametrize("style, op", [("", "BvAdd_rtl"), ("rtl", "BvAdd_rtl"), ("hls", "BvAdd_hls")])
def test_specialize_layers_follows_the_preference(style, op):
    model, _, _ = hls(Add(dims=[2, 4], terms=2), 1, style)
    assert [n.op_type for n in model.graph.node] == [op]


def test_cppsim_as_finn_does_it(tmp_path):
    """PrepareCppSim, CompileCppSim, exec_mode cppsim; two sets of constants and values that are no integers."""
    model, constants, x = hls(Threshold(dims=[5, 6], bits=8, SIMD=2, sets=2), 3, in_exp=[-4])
    model = model.transform(PrepareCppSim(num_workers=1)).transform(CompileCppSim(num_workers=1))
    op = getCustomOp(model.graph.node[0])
    folder = Path(op.get_nodeattr("code_gen_dir_cppsim"))
    assert "void n0(hls::stream<ap_uint<8>>& out0_V" in (folder / "top_n0.cpp").read_text()
    model = model.transform(SetExecMode("cppsim"))
    got = execute_onnx(model, {"x0": (x[0] / 16).astype(np.float32)})["y0"]
    want = op.layer().golden(x, constants)[0]
    assert np.array_equal(got, want) and len(np.unique(want)) == 2

    # the answer comes from the program: another one gives another answer
    op = getCustomOp(model.graph.node[0])
    wrong = {**constants, "pol": 1 - constants["pol"]}
    op.set_nodeattr("executable_path", str(compile_nodes([Instance("n0", op.layer(), wrong)], tmp_path / "wrong")))
    other = execute_onnx(model, {"x0": (x[0] / 16).astype(np.float32)})["y0"]
    assert np.array_equal(other, op.layer().golden(x, wrong)[0]) and not np.array_equal(other, want)


def test_cppsim_without_a_program():
    model, _, x = hls(Add(dims=[2, 4], terms=2), 1)
    model = model.transform(SetExecMode("cppsim"))
    with pytest.raises(UserError, match="was not compiled") as e:
        execute_onnx(model, feed(x))
    assert "PrepareCppSim and CompileCppSim" in e.value.do


def test_program_says_what_is_wrong(tmp_path):
    layer = Add(dims=[2, 4], terms=2)
    rng = np.random.default_rng(1)
    exe = compile_nodes([Instance("sum", layer, {})], tmp_path)
    x = layer.random_inputs(rng, 2)
    assert np.array_equal(run_node(exe, "sum", layer, x)[0], x[0] + x[1])
    before = exe.stat().st_mtime_ns
    assert compile_nodes([Instance("sum", layer, {})], tmp_path) == exe and exe.stat().st_mtime_ns == before
    with pytest.raises(CppsimFailed, match="this program has no node difference"):
        run_node(exe, "difference", layer, x)
    with pytest.raises(CppsimFailed, match="stream 'in1' is read while it is empty"):
        run_node(exe, "sum", layer, [x[0], x[1][:1]])
    with pytest.raises(CppsimFailed, match="8 beats are left in stream 'in1'"):
        run_node(exe, "sum", layer, [x[0][:1], x[1]])
    narrow = Add(dims=[2, 4], terms=2, SIMD=4)
    with pytest.raises(CppsimFailed, match=r"wrote .* bytes to out0") as e:
        run_node(exe, "sum", narrow, x)
    assert "the layer declares" in e.value.why


def test_rtlsim_needs_the_verilog_of_vitis():
    model, _, x = hls(Shift(height=3, width=4, channels=2, ext=4), 1)
    for node_ready in (model.transform(SetExecMode("rtlsim")), model.transform(PrepareIP(PART, 4.0))):
        with pytest.raises(UserError, match="no Verilog of the HLS node n0") as e:
            getCustomOp(node_ready.graph.node[0]).prepare_rtlsim()
        assert "HLSSynthIP where Vitis HLS is installed" in e.value.do and "cppsim" in e.value.do
    with pytest.raises(UserError, match="no Verilog"):
        execute_onnx(model.transform(SetExecMode("rtlsim")), feed(x))
    with pytest.raises(UserError, match="no Verilog"):
        model.transform(PrepareIP(PART, 4.0)).transform(PrepareRTLSim(num_workers=1))


def test_rtlsim_runs_the_verilog_that_is_there():
    """The RTL of the node lies where FINN's HLSSynthIP leaves Vitis HLS's: ports and names are the same."""
    layer = Threshold(dims=[5, 6], bits=8, SIMD=2)
    model, constants, x = hls(layer, 3)
    rtl, _, _ = hls(layer, 3, "rtl")
    rtl = rtl.transform(PrepareIP(PART, 4.0))
    model = model.transform(PrepareIP(PART, 4.0))
    source = Path(getCustomOp(rtl.graph.node[0]).get_nodeattr("code_gen_dir_ipgen"))
    place = Path(getCustomOp(model.graph.node[0]).get_nodeattr("code_gen_dir_ipgen")) / "project_n0/sol1/impl/verilog"
    place.mkdir(parents=True)
    for f in getCustomOp(rtl.graph.node[0]).get_rtl_file_list(abspath=True):
        (place / Path(f).with_suffix(".v").name).write_text(Path(f).read_text())
    for f in source.glob("*.mem"):
        (place / f.name).write_text(f.read_text())
    model = model.transform(PrepareRTLSim(num_workers=1)).transform(SetExecMode("rtlsim"))
    got = execute_onnx(model, feed(x))["y0"]
    assert np.array_equal(got, layer.golden(x, constants)[0])
    assert getCustomOp(model.graph.node[0]).get_nodeattr("cycles_rtlsim") > 0


def test_code_for_vitis():
    """PrepareIP leaves a folder that Vitis HLS can work in: FINN's Tcl, the top function, the kernels."""
    layer = Shift(height=3, width=4, channels=2, ext=4)
    model, _, _ = hls(layer, 1)
    model = model.transform(PrepareIP(PART, 4.0))
    op = getCustomOp(model.graph.node[0])
    folder = Path(op.get_nodeattr("code_gen_dir_ipgen"))
    tcl = (folder / "hls_syn_n0.tcl").read_text()
    for line in ("set config_proj_name project_n0", f'set config_hwsrcdir "{folder}"', f'set config_proj_part "{PART}"',
                 f'set config_bnnlibdir "{folder}"', 'set config_toplevelfxn "n0"', "set config_clkperiod 4.0"):
        assert line in tcl.splitlines(), line
    assert "add_files $config_hwsrcdir/top_n0.cpp" in tcl and "$PROJECTNAME" not in tcl and "DIRECTIVES$" not in tcl
    assert '#include "bhvit/shift.hpp"' in (folder / "top_n0.cpp").read_text()
    assert {"core.hpp", "shift.hpp"} <= {f.name for f in (folder / "bhvit").iterdir()}
    assert op.get_verilog_top_module_intf_names()["s_axis"] == [(f"in{i}_V", s.padded_width)
                                                                for i, s in enumerate(layer.inputs())]
