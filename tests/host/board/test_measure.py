"""Measurements, validation, command lines, package."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path

import bhvit_host
import numpy as np
import pytest
from bhvit_host import HostError, cli, selftest
from bhvit_host import package as packages
from bhvit_host.data import load
from bhvit_host.power import PowerSampler
from bhvit_host.progress import Progress
from bhvit_host.validate import validate

FINN = {"runtime[ms]", "throughput[images/s]", "DRAM_in_bandwidth[MB/s]", "DRAM_out_bandwidth[MB/s]", "fclk[mhz]",
        "batch_size", "fold_input[ms]", "pack_input[ms]", "copy_input_data_to_device[ms]",
        "copy_output_data_from_device[ms]", "unpack_output[ms]"}


def test_simulated_time_is_no_performance(accelerator):
    for result in (accelerator.throughput_test(batches=2), accelerator.latency_test(images=2)):
        figures = {k: v for k, v in result.items() if "[" in k}
        assert figures and all(v is None for v in figures.values()), figures
        assert "simulation" in result["evidence"] and result["latency_cycles"] > 0
    assert accelerator.throughput_test(batches=2)["interval_cycles"] > 0


def test_figures_of_a_board(accelerator, monkeypatch):
    """The same code where the device is taken for a board."""
    monkeypatch.setattr(accelerator, "simulated", None)
    monkeypatch.setattr(accelerator, "evidence", "board")
    result = accelerator.throughput_test(batches=2)
    assert set(result) >= FINN and all(result[k] > 0 for k in FINN) and result["evidence"] == "board"
    assert result["throughput[images/s]"] == pytest.approx(
        1000 * accelerator.batch_size / result["runtime[ms]"])
    result = accelerator.latency_test(images=3)
    assert 0 < result["latency_min[ms]"] <= result["latency_median[ms]"] <= result["latency_max[ms]"]


class Rail:
    """A power rail as pynq gives it: each reading another value; `None`: broken."""

    def __init__(self, *watts):
        self.watts, self.power = list(watts), self

    @property
    def value(self):
        if self.watts[0] is None:
            raise OSError("no reading")
        return self.watts.pop(0) if len(self.watts) > 1 else self.watts[0]


def test_power(accelerator):
    with PowerSampler(None, {"VCCINT": Rail(1.0, 3.0), "broken": Rail(None)}, seconds=0.001) as p:
        time.sleep(0.05)
    result = p.result()
    assert set(result) == {"VCCINT"} and result["VCCINT"]["max_w"] == 3.0 and result["VCCINT"]["samples"] > 2
    with PowerSampler(accelerator.device) as p:  # a simulated device has no sensors
        pass
    assert p.result() is None


def test_validate(accelerator, folder, vectors, monkeypatch):
    accelerator.batch_size = 5
    data = load("package", None, folder, accelerator.preprocess)
    r = validate(accelerator, data)
    assert (r["ok"], r["nok"], r["total"]) == (21, 3, 24) and r["accuracy"] == 87.5 and r["images/s"] is None
    assert r["top5"] >= r["accuracy"]
    r = validate(accelerator, data, limit=3)
    assert (r["ok"], r["total"]) == (0, 3)
    monkeypatch.setitem(accelerator.settings.network, "output", "top1")
    monkeypatch.setattr(accelerator, "execute", lambda x, output: vectors[1][:len(x)].argmax(1))
    monkeypatch.setattr(accelerator, "_batch", 6)
    assert validate(accelerator, data)["ok"] == 21 and validate(accelerator, data)["top5"] is None


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("BHVIT_QUIET", "0")
    t = Terminal()
    with Progress("validating", 10, t) as bar:
        bar.update(5)
        bar.update(10, "97 %")
    assert "10/10" in t.getvalue() and "97 %" in t.getvalue()
    with Progress("validating", 10) as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""


def test_command_lines(folder, vectors, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("input.npy", vectors[0])
    common = ["--package", str(folder), "--platform", "sim"]
    assert cli.driver_main([*common, "--exec_mode", "execute", "--batchsize", "7", "--outputfile", "out.npy"]) == 0
    assert np.array_equal(np.load("out.npy"), vectors[1])
    assert cli.driver_main([*common, "--exec_mode", "throughput_test", "--json", "t.json"]) == 0
    assert set(ast.literal_eval(Path("nw_metrics.txt").read_text())) >= FINN
    assert json.loads(Path("t.json").read_text())["throughput[images/s]"] is None
    assert "not measured: no board" in capsys.readouterr().out
    assert cli.validate_main([*common, "--batchsize", "9", "--json", "v.json"]) == 0
    assert "Final accuracy: 87.5" in capsys.readouterr().out
    assert json.loads(Path("v.json").read_text())["ok"] == 21
    np.savez("set.npz", images=vectors[0], labels=vectors[2])
    assert cli.validate_main([*common, "--dataset", "npz", "--dataset_root", "set.npz", "--limit", "24"]) == 0
    assert cli.driver_main([*common, "--inputfile", "nowhere.npy"]) == 2
    assert cli.driver_main(["--package", str(folder), "--platform", "zynq-iodma"]) == 2
    assert "There is no board" in capsys.readouterr().err


def test_self_test(folder, capsys, tmp_path, monkeypatch):
    assert selftest.main(["--package", str(folder), "--platform", "sim", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "PASS" and json.loads(lines[-2])["bit_exact_images"] == 24
    monkeypatch.setattr(selftest, "test_vectors", lambda f: (np.load(f / "data" / "input.npy")[::-1],
                                                             np.load(f / "data" / "expected_output.npy"), None))
    assert selftest.main(["--package", str(folder), "--platform", "sim"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "FAIL" and "image 0, output" in said.err


def test_the_golden_model(folder, capsys):
    """Slow to start, so once: the flow's Python computes, and the result says so."""
    assert selftest.main(["--package", str(folder), "--platform", "sim", "--model", "golden"]) == 0
    said = capsys.readouterr().out
    assert "bit-exact   24/24" in said and "integer golden model, no RTL and no board" in said


def test_the_golden_model_needs_the_flow(folder, monkeypatch, capsys):
    monkeypatch.delenv("BHVIT_PYTHON")
    assert selftest.main(["--package", str(folder), "--platform", "sim", "--model", "golden"]) == 1
    assert "BHVIT_PYTHON" in capsys.readouterr().err


def test_finding_a_package(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("BHVIT_PACKAGE")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HostError, match="no deployment package"):
        packages.find()
    with pytest.raises(HostError, match="no settings"):
        packages.find(tmp_path)
    assert packages.find(folder.parent) == folder
    monkeypatch.chdir(folder / "notebooks")
    assert packages.find() == folder
    assert packages.damaged(folder) == [] == packages.damaged(folder.parent)
    with pytest.raises(HostError, match="checksums cannot be read"):
        packages.damaged(tmp_path)


def test_pictures_for_notebooks(vectors):
    from bhvit_host.show import contact_sheet

    sheet = contact_sheet(vectors[0][:5], ["a"] * 5, [True] * 5, columns=3, side=20)
    assert sheet.size == (3 * 24 + 4, 2 * 38 + 4)


def test_the_sources_import_neither_torch_nor_the_flow():
    for f in Path(bhvit_host.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(f.read_text(), feature_version=(3, 10))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {n.split(".")[0] for n in names} & {"torch", "finn", "qonnx", "onnx", "brevitas", "bhvit"}, f
