"""The operation and parameter counts of the paper's networks, from the network specification."""

from pathlib import Path

import pytest

from bhvit.model.config import load_config, parse_config
from bhvit.model.count import count
from bhvit.model.network import BHViT

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "configs" / "model"

#: binary MACs, A.V three times, other MACs, elementwise, state-dict entries, parameters, binary weights, their tensors,
#: float parameters, buffer elements, scales
FIGURES = ("binary_macs", "binary_macs_av3", "fixed_macs", "elementwise", "tensors", "parameters", "binary_weights",
           "binary_tensors", "float_parameters", "buffers", "binary_rows")
TOTALS = {
    "bhvit_tiny": (2539180032, 2578817024, 10145792, 143525000, 1155, 13783096, 12630016, 71, 1153080, 74604, 28544),
    "bhvit_tiny_fp": (2462109696, 2501746688, 87216128, 141944456, 1143, 13779960, 11941888, 68, 1838072, 74604, 27648),
    "bhvit_tiny_gsb": (2539180032, 2578817024, 10145792, 143525000, 1155, 13783040, 12630016, 71, 1153024, 74596,
                       28544),
    "bhvit_small": (4056907776, 4113170432, 10145792, 223624936, 1766, 22646056, 21332992, 110, 1313064, 119203, 46208),
    "bhvit_small_fp": (3979837440, 4036100096, 87216128, 222044392, 1754, 22642920, 20644864, 107, 1998056, 119203,
                       45312),
    "bhvit_small_gsb": (4056907776, 4113170432, 10145792, 223624936, 1766, 22645964, 21332992, 110, 1312972, 119191,
                        46208),
}
#: OPs with A.V once and three times, to four digits
OPS = {"bhvit_tiny": (4.982e7, 5.044e7), "bhvit_tiny_fp": (1.257e8, 1.263e8), "bhvit_small": (7.353e7, 7.441e7),
       "bhvit_small_fp": (1.494e8, 1.503e8)}

#: layer group, how many in tiny and in small; binary MACs, other MACs, elementwise operations of each
GROUPS = (
    ("stem 4x4/4 conv 3->64", 1, 1, 0, 9633792, 1003520),
    ("S1 MSGDC 3 grouped 3x3 convs (g=4dil 1/3/5)", 2, 3, 86704128, 0, 0),
    ("S1 MSGDC elementwise", 2, 3, 0, 0, 4616192),
    ("S1 MLP fc1 64->512", 2, 3, 102760448, 0, 0),
    ("S1 MLP fc2 512->64", 2, 3, 102760448, 0, 0),
    ("S1 MLP elementwise", 2, 3, 0, 0, 17059840),
    ("S1 shift3+shift5", 2, 3, 0, 0, 6823936),
    ("down 1->2 2x2/2 conv 64->128 (binary)", 1, 1, 25690112, 0, 1605632),
    ("S2 MSGDC 3 grouped 3x3 convs (g=4dil 1/3/5)", 2, 4, 86704128, 0, 0),
    ("S2 MSGDC elementwise", 2, 4, 0, 0, 2308096),
    ("S2 MLP fc1 128->1024", 2, 4, 102760448, 0, 0),
    ("S2 MLP fc2 1024->128", 2, 4, 102760448, 0, 0),
    ("S2 MLP elementwise", 2, 4, 0, 0, 8529920),
    ("S2 shift3+shift5", 2, 4, 0, 0, 3411968),
    ("down 2->3 2x2/2 conv 128->256 (binary)", 1, 1, 25690112, 0, 802816),
    ("S3 QKV linear (212 tokens)", 6, 8, 41680896, 0, 0),
    ("S3 QK^T (4 win x 4 heads x 53^2)", 6, 8, 2876416, 0, 0),
    ("S3 A.V one binary map", 6, 8, 2876416, 0, 0),
    ("S3 attention output dense", 6, 8, 12845056, 0, 0),
    ("S3 attention elementwise", 6, 8, 0, 0, 3594256),
    ("S3 MLP fc1 256->1024", 6, 8, 51380224, 0, 0),
    ("S3 MLP fc2 1024->256", 6, 8, 51380224, 0, 0),
    ("S3 MLP elementwise", 6, 8, 0, 0, 2458624),
    ("S3 shift3+shift5", 6, 8, 0, 0, 1705984),
    ("down 3->4 2x2/2 conv 256->512 (binary)", 1, 1, 25690112, 0, 401408),
    ("S4 QKV linear (50 tokens)", 2, 4, 39321600, 0, 0),
    ("S4 QK^T (1 win x 8 heads x 50^2)", 2, 4, 1280000, 0, 0),
    ("S4 A.V one binary map", 2, 4, 1280000, 0, 0),
    ("S4 attention output dense", 2, 4, 12845056, 0, 0),
    ("S4 attention elementwise", 2, 4, 0, 0, 1708832),
    ("S4 MLP fc1 512->2048", 2, 4, 51380224, 0, 0),
    ("S4 MLP fc2 2048->512", 2, 4, 51380224, 0, 0),
    ("S4 MLP elementwise", 2, 4, 0, 0, 1229312),
    ("S4 shift3+shift5", 2, 4, 0, 0, 852992),
    ("final BN + mean pool", 1, 1, 0, 0, 75264),
    ("classifier 512->1000", 1, 1, 0, 512000, 1000),
)
#: other MACs and elementwise operations of the down-samplings at full precision
FULL_PRECISION = ((25690112, 702464), (25690112, 351232), (25690112, 175616))


def config(name: str):
    """A shipped network; small with GSB has no file of its own."""
    if name == "bhvit_small_gsb":
        return load_config(MODELS / "bhvit_small.yaml").model_copy(update={"attention": "gsb"})
    return load_config(MODELS / f"{name}.yaml")


@pytest.mark.parametrize("name", TOTALS)
def test_totals(name):
    total = count(config(name))["total"]
    assert tuple(total[figure] for figure in FIGURES) == TOTALS[name]
    for figure, want in zip(("ops", "ops_av3"), OPS.get(name, ())):
        assert float(f"{total[figure]:.3e}") == want
    assert total["ops"] == total["binary_macs"] / 64 + total["fixed_macs"]


@pytest.mark.parametrize("name", TOTALS)
def test_every_layer_group(name):
    rows, down = count(config(name))["layers"], 0
    assert len(rows) == len(GROUPS)
    for row, (label, tiny, small, binary, fixed, elementwise) in zip(rows, GROUPS):
        if label.startswith("down") and name.endswith("_fp"):
            binary, (fixed, elementwise), down = 0, FULL_PRECISION[down], down + 1
        assert row["layer"].split()[0] == label.split()[0], (row["layer"], label)
        assert (row["repeat"], row["binary_macs"], row["fixed_macs"], row["elementwise"]) == (
            small if "small" in name else tiny, binary, fixed, elementwise), label
        assert row["binary_macs_av3"] == binary * (3 if "A.V" in label else 1)


@pytest.mark.parametrize("change", [
    {}, {"downsample": "fp", "token_norm": "batch"}, {"attention": "gsb"}, {"attention": "qd_fixed"},
    {"attention": "binary"}, {"merge_tokens": "average", "pool_padding": 0}, {"merge_tokens": "off"}, {"shift": "off"},
    {"pre_norm": False}, {"context_norm": False}, {"merge_output": "sum"}, {"downsample": "conv"},
    {"dilations": [2]}, {"mixer": "convolution"}, {"mixer": "attention", "heads": [1, 2, 3, 2]}], ids=str)
def test_parameters_are_those_of_the_network(change):
    base = load_config(Path(__file__).parent / "configs" / "nano.yaml").model_dump(mode="json")
    cfg = parse_config({**base, **change})
    net, total = BHViT(cfg), count(cfg)["total"]
    binary = [m.weight for m in net.modules() if getattr(m, "centred", False)]
    state = net.state_dict()
    parameters = sum(p.numel() for p in net.parameters())
    assert total["parameters"] == parameters and total["tensors"] == len(state)
    assert total["buffers"] == sum(v.numel() for v in state.values()) - parameters
    assert total["binary_weights"] == sum(w.numel() for w in binary) and total["binary_tensors"] == len(binary)
    assert total["binary_rows"] == sum(len(w) for w in binary)


@pytest.mark.parametrize("size, patch, window, want", [  # other input sizes, 10 classes
    (32, 2, 2, 224497664), (32, 1, 4, 840962048), (64, 4, 2, 224497664)])
def test_other_sizes(size, patch, window, want):
    cfg = load_config(MODELS / "bhvit_tiny.yaml").model_copy(
        update={"image_size": size, "stem_patch": patch, "window": window, "pool_padding": 0, "classes": 10})
    assert count(cfg)["total"]["binary_macs_av3"] == want
    assert count(cfg)["total"]["fixed_macs"] == {32: 201728, 64: 791552}[size]
