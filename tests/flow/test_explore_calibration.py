"""Formulas against Yosys: which instances are taken, and what is said about them."""

from __future__ import annotations

import pytest

from bhvit.finn_flow.explore import calibration, design
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.storage import BLOCK
from bhvit.finn_flow.memory_plan import TINY
from bhvit.finn_flow.synth import SynthResult

from .test_explore_designs import config, specialized


def result(lut: int, dsp: int = 0) -> SynthResult:
    return SynthResult(lut=lut - 30, lutram=10, srl=20, ff=1, carry=0, dsp=dsp, bram18=0, uram=0)


def test_every_kind_is_taken_in_several_sizes():
    cfg = config()
    chosen = calibration.spread(design.with_engines(specialized(channels=64), cfg), cfg, (100, 400, 1600))
    assert {x.stem for x in chosen} == set(layers())
    for stem in layers():
        sizes = [x.resources().lut for x in chosen if x.stem == stem]
        assert 1 <= len(sizes) <= len(calibration.PLACES) and sizes == sorted(sizes)
        assert len(sizes) == 1 or all(calibration.LEAST <= x <= calibration.MOST for x in sizes)
    mixes = [x for x in chosen if x.stem == "binary_linear"]
    assert len({(x.PE, x.SIMD, x.TP) for x in mixes}) == len(mixes) > 1 and mixes[0].in_channels == 64
    for x in chosen:
        assert all(s.chosen == BLOCK for s in x.styled_stores() if not s.fixed and s.depth > TINY)


def answering(answer):
    """A stand-in for `synthesize_all` that asks `answer` for every instance."""
    def synthesize_all(work, *, cache, progress=None):
        assert all(constants is None for _, constants in work)
        found = []
        for n, (layer, _) in enumerate(work, 1):
            found.append(answer())
            if progress:
                progress(n, layer.stem)
        return found

    return synthesize_all


def test_ratios(monkeypatch, tmp_path):
    kind = layers()["affine"]
    three = [kind(**kind.suitable(74, dims=[4, 8], SIMD=n)) for n in (1, 2, 4)]
    wants = [x.resources() for x in three]
    answers = iter([result(int(w.lut * f), w.dsp + d) for w, f, d in zip(wants, (1, 2, 4), (0, 0, 1))])
    monkeypatch.setattr(calibration, "synthesize_all", answering(lambda: next(answers)))
    said = []
    data = calibration.calibrate(three, tmp_path, lambda *a: said.append(a))
    assert [s[0] for s in said] == [1, 2, 3] and all(s[1] == 3 for s in said)
    k = data["kinds"]["affine"]
    assert k["median"] == pytest.approx(0.5, rel=0.05) and k["least"] == pytest.approx(0.25, rel=0.05)
    assert k["most"] == pytest.approx(1, rel=0.05) and (k["dsp_exact"], k["instances"]) == (2, 3)
    assert data["rows"][1]["yosys"] == {"lut": int(wants[1].lut * 2), "dsp": wants[1].dsp, "lutram": 10, "srl": 20}
    assert [r["attributes"].get("SIMD", 1) for r in data["rows"]] == [1, 2, 4]
    total = sum(w.lut for w in wants) / sum(int(w.lut * f) for w, f in zip(wants, (1, 2, 4)))
    assert data["total"]["sum"] == pytest.approx(total, rel=1e-3)
    text = calibration.markdown({**data, "evidence": "Yosys"})
    assert "| affine | 3 | 0.5" in text and "2 of 3" in text and "Evidence: Yosys." in text


def test_the_same_instances_again(monkeypatch, tmp_path):
    small = calibration.examples(1)
    assert [x.stem for x in small] == list(layers()) and len(calibration.examples()) == 2 * len(layers())
    monkeypatch.setattr(calibration, "synthesize_all", answering(lambda: result(200)))
    first = calibration.calibrate(small, tmp_path)
    assert calibration.same(first) == small
    text = calibration.markdown({**first, "evidence": "Yosys",
                                 "before": {"affine": {"median": 7.5}, "all": {"median": 8.5, "sum": 9.5}}})
    rows = {line.split(" | ")[0][2:]: line for line in text.splitlines() if line.startswith("| ")}
    assert " 7.50 | " in rows["affine"] and " 8.50 | " in rows["all"] and "before 9.50" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {8}


@pytest.mark.full
def test_a_real_instance(tmp_path):
    kind = layers()["affine"]
    layer = calibration.in_block_ram(kind(**kind.suitable(74, dims=[14, 14, 64], SIMD=4, act=1)))
    (row,) = calibration.calibrate([layer], tmp_path)["rows"]
    assert row["yosys"]["dsp"] == row["estimate"]["dsp"] == 8 and 0.5 < row["ratio"] < 2
