"""Verilog as Vitis HLS writes it in an engine that blocks share: its sets are a stream, those of the RTL a register."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow import ops, stitch
from bhvit.finn_flow.hls.csim import HlsCase, csim
from bhvit.finn_flow.hls.vitis import rtl
from bhvit.finn_flow.hls.vitis.cases import build_cases
from bhvit.finn_flow.hls.vitis.project import Project, Target
from bhvit.finn_flow.hls.vitis.rtl import HlsRtl, HlsRtlError
from bhvit.finn_flow.layers.loop import Loop
from bhvit.finn_flow.sim.design import DesignSim
from bhvit.finn_flow.sim.verilate import Stalls
from tests.flow import networks

from .test_engines import engine

HERE = Path(__file__).parent / "verilog"
SIGN, GATE = "stage1_block1to3_sign", "stage1_block1to3_gate"
STALLS = (Stalls(), Stalls(seed=3, input_percent=30, output_percent=50))


@pytest.fixture
def projects(tmp_path):
    """Folders with hand-written Verilog of a layer and the gate of the toy engine."""
    model = engine()
    for name in (SIGN, GATE):
        (tmp_path / name).mkdir()
        shutil.copy(HERE / "engine" / f"{name}.v", tmp_path / name)
    shutil.copy(HERE / "sign_regslice_both.v", tmp_path / SIGN)
    layer, constants = ops.layer_of(next(n for n in model.graph.node if n.name == SIGN), model)
    (image,) = layer.memories(constants).values()
    (tmp_path / SIGN / f"{SIGN}_threshold_ROM_AUTO_1R.dat").write_text("\n".join(image.hex_lines()) + "\n")
    # as the tool writes it; in this tree FINN's ReplaceVerilogRelPaths would take it for a generated file
    file = tmp_path / SIGN / f"{SIGN}.v"
    file.write_text(file.read_text().replace('$readmemh("', '$readmemh("./'))
    return {name: tmp_path / name for name in (SIGN, GATE)}


def simulate(folder: Path, projects: dict[str, Path]) -> list[bool]:
    """Whether the stitched design gives what the golden models give, without and with stalls."""
    model = engine()
    x = networks.pixels(model, 7)
    want = ops.execute(model, {"pixels": x})[model.graph.output[0].name]
    design = stitch.stitch(model, folder / "ip", projects)
    assert [n for n, d in design.nodes.items() if d.get("implementation")] == sorted(projects)
    sim = DesignSim(design, folder / "sim", optimize="-O0")
    runs = [sim.run(x, stalls=s)[0] for s in STALLS]
    assert len(np.unique(want)) > 20
    return [r.status == 0 and np.array_equal(r.outputs[0], want) for r in runs]


@pytest.mark.parametrize("names", [[SIGN], [GATE], [GATE, SIGN]], ids=["layer", "gate", "both"])
def test_engine_with_verilog_of_hls_is_exact(names, projects, tmp_path):
    assert simulate(tmp_path, {n: projects[n] for n in names}) == [True, True]


@pytest.mark.parametrize("text, old", [("_GIVE_SET", "!first || said != begun"), ("_TAKE_SET", "told || !first"),
                                       ("_GIVE_SET", "4*said"), ("_TAKE_SET", "4*slot")])
def test_set_and_frame_belong_together(text, old, projects, tmp_path, monkeypatch):
    """A wrapper that lets a frame pass before its set, or mixes up the places in the schedule, gives other numbers."""
    assert getattr(rtl, text).count(old) == 1
    monkeypatch.setattr(rtl, text, getattr(rtl, text).replace(old, "4*0" if old.startswith("4") else "1'b1"))
    assert False in simulate(tmp_path, projects)


def test_layer_without_the_stream_of_sets(projects):
    file = projects[SIGN] / f"{SIGN}.v"
    file.write_text(file.read_text().replace("in_set_V_T", "other_V_T"))
    with pytest.raises(HlsRtlError, match="has no port for in_set"):
        HlsRtl.load(projects[SIGN], SIGN).wrapper(ops.layer_from_node(
            next(n for n in engine().graph.node if n.name == SIGN)))


def test_nodes_of_an_engine_as_projects(tmp_path):
    """`bhvit hls cosim NODE --build`: sets and the gate's order are among the data, and g++ agrees with them."""
    (tmp_path / "intermediate_models").mkdir()
    engine().save(str(tmp_path / "intermediate_models/step_bhvit_size_fifos.onnx"))
    cases = build_cases(tmp_path, [GATE, SIGN, "stage1_block1to3_norm"])
    assert {c.name for c in cases} == {GATE, SIGN, "stage1_block1to3_norm"}
    for c in cases:
        files = Project(c, tmp_path / c.name, Target("xczu7ev-ffvc1156-2-e", 200.0, ("csim",))).files()
        port, order = ("out_set", [0, 1, 2] * c.frames) if isinstance(c.layer, Loop) else ("in_set", [0, 1, 2] * 9)
        sets = [int(s) for s in files[f"{c.name}_{port}.hex"].split()]
        assert sets == order[: len(sets)] and len(sets) in (c.frames, 3 * c.frames) and max(sets) == 2
        assert f"{c.name}_{port}.hex" in files["settings.tcl"] and f"axis port={port}_V" in files[f"{c.name}.cpp"]
    assert csim(cases, tmp_path / "csim").failures == []


def test_a_gate_is_simulated_with_an_engine_that_has_its_frames_ready():
    c = HlsCase.random(Loop(dims=[2, 3], rounds=4), "gate")
    new, back = c.inputs
    assert np.array_equal(c.expected[0][[0, 1, 2, 3, 4]], np.stack([new[0], back[0], back[1], back[2], new[1]]))
    assert np.array_equal(c.expected[1][:2], back[[3, 7]])
