"""Every operator of the deployed network, alone: Brevitas' TorchScript export, stock qonnx, equal in every bit."""

import numpy as np
import pytest
import torch
from brevitas.export import export_qonnx
from qonnx.core.onnx_exec import execute_onnx
from torch import nn

from bhvit.model.export import INPUT, OPSET, OUTPUT, _tidy, with_batch
from bhvit.model.layers import shapes
from bhvit.model.layers.fixed import Fixed
from bhvit.model.layers.float_parts import QD
from bhvit.model.layers.layer_norm import LayerNorm
from bhvit.model.layers.lookup import GeluTable
from bhvit.model.layers.qd_attention import QDAttention
from bhvit.model.layers.shift import BRANCHES, Shift
from bhvit.model.numerics import Widths
from bhvit.model.quantizers import BinaryWeight, FixedConst, FixedQuant, sign_act

BITS = Widths()


class Quantize(nn.Module):
    """FLOOR with saturation, next to sign with sign(0) = +1."""

    def __init__(self):
        super().__init__()
        self.q, self.sign = FixedQuant(5), sign_act()
        self.q.set_exponent(-2)

    def forward(self, x):
        return self.q(x * 0.03125) + self.sign(x)


class Slopes(nn.Module):
    """where(z >= 0, p, n) * z with quantized slopes."""

    def __init__(self):
        super().__init__()
        self.p, self.n = FixedConst((8,), 8), FixedConst((8,), 8)
        self.p.set(torch.linspace(-1, 1, 8), -7)
        self.n.set(torch.linspace(1, -0.5, 8), -7)

    def forward(self, x):
        return torch.where(x >= 0, self.p(), self.n()) * x


class Conv(nn.Module):
    """Grouped, dilated, zero-padded convolution of +-1 maps with +-1 weights."""

    def __init__(self):
        super().__init__()
        self.sign, self.w = sign_act(), BinaryWeight((8, 2, 3, 3))
        self.w.set(torch.randn(8, 2, 3, 3))

    def forward(self, x):
        b = self.sign(x).permute(0, 3, 1, 2)
        return nn.functional.conv2d(b, self.w(), padding=3, dilation=3, groups=4).permute(0, 2, 3, 1)


class MatMul(nn.Module):
    """+-1 times +-1; the transposed weight is folded."""

    def __init__(self):
        super().__init__()
        self.sign, self.w = sign_act(), BinaryWeight((5, 8))
        self.w.set(torch.randn(5, 8))

    def forward(self, x):
        return torch.matmul(self.sign(x), self.w().t())


class Move(nn.Module):
    """A function of the map alone."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


class Attention(nn.Module):
    """Row maximum, table, row sum, comparisons, two products."""

    def __init__(self):
        super().__init__()
        self.sign = sign_act()
        self.a = QDAttention(8, 2, 4, 9, BITS)
        q = torch.randn(1, 36, 8).sign()
        quantizer = QD(2)
        quantizer.load_state_dict({"alpha": torch.tensor([0.3, -0.2]), "zero_point": torch.tensor([0.1, 2.0]),
                                   "init_state": torch.ones(1)})
        self.a.calibrate(q, q, q, quantizer)

    def forward(self, x):
        b = self.sign(x).reshape(-1, 36, 8)
        return self.a(b, torch.cat([b.narrow(1, 3, 33), b.narrow(1, 0, 3)], 1), b)


def norm():
    layer = LayerNorm(8, BITS)
    x = torch.randint(-128, 128, (50, 8)).float()
    layer.calibrate(Fixed(x, 0, -128, 127), nn.LayerNorm(8))
    return layer


def gelu():
    layer = GeluTable(BITS)
    layer.calibrate(Fixed(torch.arange(-128.0, 128.0), 0, -128, 127))
    return layer


def stencil():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.s = Shift(8, BITS)

        def forward(self, x):
            return self.s(x, x)

    both = Both()
    scale = nn.Module()
    scale.alpha, scale.move = torch.randn(8), torch.randn(8)
    x = Fixed(torch.randint(-128, 128, (2, 6, 6, 8)).float(), 0, -128, 127)
    both.s.calibrate(x, x, dict.fromkeys(BRANCHES, scale))
    return both


CASES = {
    "quantize": Quantize, "slopes": Slopes, "conv": Conv, "matmul": MatMul, "attention": Attention,
    "layer_norm": norm, "gelu": gelu, "shift": stencil,
    "roll": lambda: Move(lambda x: shapes.shifted(x, -2, 1)),
    "patchify": lambda: Move(lambda x: shapes.patchify(x, 2)),
    "patch_sum": lambda: Move(lambda x: shapes.patch_sum(shapes.patchify(x, 2), 4)),
    "tile": lambda: Move(lambda x: shapes.tile(x, 3)),
    "channel_sum": lambda: Move(lambda x: shapes.channel_sum(x, 4)),
    "windows": lambda: Move(lambda x: shapes.unwindows(shapes.windows(x, 3) * 2, 3, 2)),
    "merge_tokens": lambda: Move(lambda x: shapes.repeat_windows(shapes.windows(x, 3).sum(2), 4)),
    "upsample": lambda: Move(lambda x: shapes.upsample(x, 2)),
    "window_max": lambda: Move(lambda x: shapes.window_max(x, 3, 1)),
    "window_sum": lambda: Move(lambda x: shapes.window_sum(x, 3, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_operator(case, tmp_path):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    layer = CASES[case]().eval()
    for m in layer.modules():
        if isinstance(m, FixedConst | BinaryWeight):
            m.snap()
    x = torch.randint(-128, 128, (2, 6, 6, 8)).float()
    x[0, 0, 0, :4] = 0
    with torch.no_grad():
        want = layer(x)
        file = tmp_path / "m.onnx"
        export_qonnx(layer, x[:1], str(file), dynamo=False, opset_version=OPSET, input_names=[INPUT],
                     output_names=[OUTPUT])
    import onnx

    model = with_batch(_tidy(onnx.load(file)), 2)
    assert {n.domain for n in model.graph.node} <= {"", "qonnx.custom_op.general"}
    got = execute_onnx(model, {INPUT: x.numpy()})[OUTPUT]
    assert got.shape == tuple(want.shape) and np.array_equal(got, want.numpy())


def test_patchify_matches_convolution_weights():
    x, w = torch.randn(2, 6, 6, 4), torch.randn(5, 4, 2, 2)
    want = nn.functional.conv2d(x.permute(0, 3, 1, 2), w, stride=2).permute(0, 2, 3, 1)
    assert torch.allclose(shapes.patchify(x, 2) @ shapes.patch_weight(w).t(), want, atol=1e-5)


def test_pooling_with_padding_is_misaligned_and_zero_filled():
    x = torch.ones(1, 14, 14, 1)
    assert shapes.window_sum(x, 7, 3)[0, :, :, 0].tolist() == [[16, 28], [28, 49]]
    assert shapes.window_max(-x, 7, 3).unique().tolist() == [-1]  # padding never wins
    x[0, 11:] = 100
    assert shapes.window_max(x, 7, 3).max() == 1  # rows 11..13 are never pooled
