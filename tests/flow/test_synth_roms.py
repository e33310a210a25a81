"""Rules that map constants to look-up tables: every address gives its word, in the memory they were made for only."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.storage import rom_luts
from bhvit.finn_flow.synth import Instance, instance_files
from bhvit.finn_flow.synth_roms import rule, rules
from bhvit.finn_flow.synth_run import Top, run

CELL = re.compile(r"^  (LUT5|LUT6|LUT6_2|MUXF[789])(?: #\(\.INIT\(\d+'h([0-9a-f]+)\)\))? \w+ \((.*)\);$", re.M)


def words(text: str, depth: int) -> np.ndarray:
    """What the cells of a rule put out, (depth, width): look-up tables and multiplexers as the device has them."""
    cells = [(kind, int(init or "0", 16), dict(re.findall(r"\.(\w+)\(([^()]+)\)", ports)))
             for kind, init, ports in CELL.findall(text)]
    order = re.search(r"word = \{([^}]*)\}", text)[1].split(", ")[::-1]
    fixed = dict(re.findall(r"assign (c\[\d+\]) = (1'b[01]);", text))
    out = []
    for address in range(depth):
        known = {"1'b0": 0, "1'b1": 1, **{f"a[{i}]": address >> i & 1 for i in range(10)}}
        known |= {name: known[value] for name, value in fixed.items()}
        left = list(cells)
        while left:
            kind, init, ports = left.pop(0)
            if any(p not in known for n, p in ports.items() if not n.startswith("O")):
                left.append((kind, init, ports))
                continue
            if kind.startswith("MUXF"):
                known[ports["O"]] = known[ports["I1"] if known[ports["S"]] else ports["I0"]]
                continue
            index = sum(known[p] << int(n[1]) for n, p in ports.items() if n.startswith("I"))
            for name in ("O", "O6"):
                if name in ports:
                    known[ports[name]] = init >> index & 1
            if "O5" in ports:
                known[ports["O5"]] = init >> (index & 31) & 1
        out.append([known[name] for name in order])
    return np.array(out)


@pytest.mark.parametrize("depth", [9, 16, 31, 32, 33, 64, 65, 128, 130, 200, 257, 512])
def test_every_address_gives_its_word(depth):
    rng = np.random.default_rng(depth)
    bits = rng.integers(0, 2, (depth, 23), np.uint8)
    bits[:, 3], bits[:, 4], bits[:, 9] = 0, 1, bits[:, 7]                # constant and equal columns
    bits[64:128, 5] = 1                                                  # a block that is constant
    text = rule("r", bits)
    assert np.array_equal(words(text, depth), bits)
    used = len(CELL.findall(text)) - text.count("MUXF")
    assert 0 < used <= rom_luts(23, depth)
    if depth in (32, 64, 128, 512):
        assert used >= 0.9 * rom_luts(20, depth)
    wrong = re.sub(r"(?<=64'h)\w+", lambda m: f"{int(m[0], 16) ^ 2**64 - 1:016x}", text, count=1)
    assert not np.array_equal(words(wrong, depth), bits)                 # the comparison notices one wrong table


def test_no_token_is_too_long_for_yosys():
    text = rule("r", np.random.default_rng(0).integers(0, 2, (64, 1728), np.uint8))
    assert max(map(len, re.findall(r"[\w']+", text))) < 16_000


def threshold(depth: int, style: str = "distributed"):
    cls = layers()["threshold"]
    layer = cls(**{**cls.examples()[0], "dims": [3, depth * 2], "SIMD": 2, "styles": f"THRESHOLD={style}"})
    return layer, layer.random_constants(np.random.default_rng(depth))


def test_memories_elsewhere_have_no_rule():
    assert rules(*threshold(24)).count("\nmodule ") in (1, 2)
    assert rules(*threshold(24, "block")) == "" and rules(*threshold(4)) == ""
    assert rules(*threshold(300)) != "" and rules(*threshold(300), "xc7") == ""


def test_constant_columns_may_be_gone(work):
    """Yosys takes them out of a memory; what is left has a rule too."""
    layer, constants = threshold(40)
    constants = {k: v if np.abs(v).max() <= 1 else np.abs(v) & 7 for k, v in constants.items()}  # upper bits are 0
    image = layer.memories(constants)["THRESHOLD"]
    text = rules(layer, constants)
    assert text.count("\nmodule ") == 2
    left = int(re.findall(r"WIDTH != (\d+)", text)[1])
    assert left < image.width
    counts = []
    run([Top("dut", instance_files(layer, "dut", constants), rules=text)], work / "log",
        done=lambda _, texts: counts.append(json.loads(texts[0])["design"]["num_cells_by_type"]))
    assert counts[0].get("LUT6", 0) >= 0.5 * left


def test_a_rule_serves_only_its_contents(work):
    """Wrong contents: the memory goes its usual way, and the counts are those without a rule."""
    layer, constants = threshold(40)
    files = instance_files(layer, "dut", constants)
    other = threshold(40)[0].random_constants(np.random.default_rng(99))
    counts = []
    for text in (rules(layer, constants), rules(layer, other), ""):
        run([Top("dut", files, rules=text)], work / "log",
            done=lambda _, texts: counts.append(json.loads(texts[0])["design"]["num_cells_by_type"]))
    image = Instance(layer, constants, "xcup", work).layer.memories(constants)["THRESHOLD"]
    assert counts[1] == counts[2] and counts[0].get("LUT6", 0) >= 0.9 * image.width > counts[0].get("LUT6", 0) / 3
