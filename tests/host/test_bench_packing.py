"""The benchmark of packing: every type and shape, and figures of the same run that agree with each other."""

from bhvit.cli import bench_packing


def test_every_type_in_every_shape(monkeypatch):
    monkeypatch.setattr(bench_packing, "SHAPES", {"a": (64, 64), "b": (50, 10)})
    r = bench_packing.packing()
    assert set(r) == {"BIPOLAR", "INT8", "INT24"} and all(set(v) == {"a", "b"} for v in r.values())
    for v in (v for shapes in r.values() for v in shapes.values()):
        assert v["pack_MB_per_s"] > 0 and v["unpack_MB_per_s"] > 0
        for key, ratio in (("default", "ratio_to_finn"), ("reversed", "ratio_to_finn_reversed")):
            assert abs(v["pack_MB_per_s"] / v["finn_pack_MB_per_s"][key] / v[ratio] - 1) < 1e-9
    assert len(bench_packing.text(r).splitlines()) == 8
