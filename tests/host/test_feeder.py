"""Packages of designs whose constants come from outside: files, load table, driver on both simulated devices."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from bhvit_host import feeder as host

from bhvit.deployment import deploy
from bhvit.finn_flow import load
from bhvit.finn_flow.shell.loader import table
from bhvit.finn_flow.shell.simulate import shell_sim
from tests.cli.conftest import build_file, fixed_code

from .conftest import reference

BOARD = Path(__file__).parent / "board_fed"
MEMORY = {"ultra_constants": True, "styles": {"stem.WEIGHT": "stream", "mix.WEIGHT": "ultra"}}


@pytest.fixture(scope="module")
def fed_build(tmp_path_factory, toy_steps, pico):
    """A finished build with a loaded memory and a stream of weights."""
    from bhvit.finn_flow import build as b
    from bhvit.finn_flow.config import load_config

    folder = tmp_path_factory.mktemp("fed")
    file = build_file(folder, pico)
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "memory": MEMORY}))
    with pytest.MonkeyPatch.context() as m:
        m.setenv("BHVIT_QUIET", "1")
        m.setattr("bhvit.finn_flow.build_key.code_digest", fixed_code)
        m.setattr("bhvit.finn_flow.build_folder.STEPS", toy_steps)
        b.build(load_config(file), folder / "out", steps=toy_steps)
        reference(folder / "out")
        yield folder / "out"


@pytest.fixture(scope="module")
def fed_package(fed_build) -> Path:
    return Path(deploy(fed_build, fed_build.parent / "package", images=20, optimize="-O0")["package"])


def test_shell_sim_of_a_build(fed_build):
    """`bhvit shell-sim`: bit-exact with random latencies, errors and resets."""
    r = shell_sim(fed_build, reference=fed_build / "report" / "reference_test.npz", images=24, seed=2, optimize="-O0",
                  quiet=True)
    assert r["ok"] and r["bit_exact_images"] == 24 and r["distinct_outputs"] > 20 and r["loads"] == 3
    assert r["constants"] == {"loaded_memories": 1, "weight_streams": 1} and r["resets"] + r["error_answers"] > 2


def test_what_is_in_the_package(fed_build, fed_package):
    overlay = fed_package / "overlay"
    s = json.loads((overlay / "settings.json").read_text())
    c = s["constants"]
    assert c["load"]["file"] == "constants/load.bin" and c["weights"][0]["file"] == "constants/weight0_V.bin"
    for entry in (c["load"], *c["weights"]):
        name = Path(entry["file"]).name
        assert (overlay / entry["file"]).read_bytes() == (fed_build / "stitched_ip" / "mem" / name).read_bytes()
    assert (overlay / c["weights"][0]["file"]).stat().st_size == c["weights"][0]["words"] * c["weights"][0]["bytes"]
    assert s["instances"]["feeder"] == {"name": "feeder_0", "base": 0xA0020000}
    assert not list((overlay / "simulation").rglob("*.bin")), "the simulated device gets them through the driver"
    assert "overlay/constants/load.bin" not in (fed_package / "SHA256SUMS").read_text()
    assert "constants/load.bin" in (overlay / "SHA256SUMS").read_text()


def test_packages_without_them_have_none(package):
    s = json.loads((package / "overlay" / "settings.json").read_text())
    assert s["constants"] is None and "feeder" not in s["instances"]
    assert not (package / "overlay" / "constants").exists()


@pytest.mark.parametrize("model", ["rtl", "golden"])
def test_self_test(fed_package, in_host, tmp_path, model):
    r = in_host(fed_package / "self_test.py", "--model", model, cwd=tmp_path)
    assert r.returncode == 0 and r.stdout.splitlines()[-1] == "PASS", r.stdout + r.stderr
    assert "constants   1 memories loaded, 1 streams of weights" in r.stdout and "bit-exact   20/20" in r.stdout


def test_self_test_notices_a_damaged_file(fed_package, in_host, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(fed_package, copy)
    file = copy / "overlay" / "constants" / "weight0_V.bin"
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    r = in_host(copy / "self_test.py", cwd=tmp_path)
    assert r.returncode == 1 and "weight0_V.bin" in r.stderr and r.stdout.splitlines()[-1] == "FAIL"


def test_driver(fed_package, in_host, tmp_path):
    r = in_host("-m", "pytest", BOARD, "-q", "-c", "/dev/null", "--rootdir", BOARD, "--confcutdir", BOARD,
                "--import-mode=importlib", "-p", "no:cacheprovider", "--timeout=60", "--durations=5", "--basetemp",
                tmp_path / "t", timeout=300, BHVIT_PACKAGE=str(fed_package), PYTHONPATH=str(fed_package / "driver"))
    print(r.stdout[-8000:], r.stderr[-2000:])
    assert r.returncode == 0
    passed = re.search(r"(\d+) passed", r.stdout)
    assert passed and int(passed[1]) >= 20 and "skipped" not in r.stdout


def test_the_table_is_that_of_the_flow(tmp_path):
    rng = np.random.default_rng(1)
    segments = [load.Segment(int(rng.integers(0, 1 << 16)), int(rng.integers(0, 1 << 32)),
                             rng.integers(0, 1 << 64, int(rng.integers(1, 90)), dtype=np.uint64)) for _ in range(5)]
    for some in (segments, segments[:1], []):
        load.write(tmp_path / load.FILE, some)
        words = np.fromfile(tmp_path / load.FILE, "<u8")
        assert host.table(words, 0x7_1234_5678).tobytes() == table(some, 0x7_1234_5678)
