"""The figures of `bhvit bench` about packing: what is measured, not how fast this machine is."""

from bhvit.cli import bench_packing


def test_figures(monkeypatch):
    monkeypatch.setattr(bench_packing, "ELEMENTS", 1 << 12)
    r = bench_packing.packing()
    assert list(r) == ["BIPOLAR", "INT8", "INT24"]
    for v in r.values():
        assert v["pack_MB_per_s"] > 0 and v["unpack_MB_per_s"] > 0
        slow = v["finn_pack_elements_per_s"]["default"]
        assert abs(v["ratio_to_finn"] - v["pack_elements_per_s"] / slow) < 1e-6 * v["ratio_to_finn"]
    assert len(bench_packing.text(r).splitlines()) == 5
