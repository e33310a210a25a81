"""Smaller files of trainable parameters: the same function, a fraction of the bytes, and refusals."""

import json

import pytest
import torch

from bhvit.cli.main import main
from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.config import ModelConfig
from bhvit.model.network import BHViT
from bhvit.model.train.convnet import ConvNet
from bhvit.model.train.full_precision import signs
from bhvit.model.train.shrink import shrink


def configuration(**changes) -> ModelConfig:
    return ModelConfig(**(dict(name="stub", image_size=16, image_channels=1, classes=10, stem_patch=2,
                               widths=(16, 16, 32, 32), depths=(1, 1, 1, 1), heads=(2, 2), window=1, pool_padding=0)
                          | changes))


CFG = configuration()


def network(cfg=CFG) -> BHViT:
    """A network whose batch norms have seen images, so that its outputs say something."""
    torch.manual_seed(1)
    net = BHViT(cfg).train()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
        net(images())
    return net.eval()


def images() -> torch.Tensor:
    return torch.randint(0, 256, (8, 16, 16, 1), generator=torch.Generator().manual_seed(2)).float()


@pytest.mark.parametrize("weight_sign", ["centred", "plain"])
def test_signs_keep_the_function(tmp_path, weight_sign):
    cfg = configuration(weight_sign=weight_sign)
    net = network(cfg)
    before = weights.save(tmp_path / "f.safetensors", net.state_dict(), cfg, {"val_top1": 1.5}, kind="float")
    told = shrink(before, cfg, tmp_path / "s.safetensors", "sign")
    assert told["changed"] == 0 and told["bytes"] < 0.5 * told["bytes_before"]
    again = BHViT(cfg)
    again.load_state_dict(weights.load(tmp_path / "s.safetensors", cfg, "float"))
    with torch.no_grad():
        assert torch.equal(again.eval()(images()), net(images()))
    assert weights.info(told["file"])["metrics"] == {"val_top1": 1.5}
    moved = next(iter(signs(net)))  # the comparison sees a single flip
    state = again.state_dict()
    state[moved].view(-1)[0] *= -1
    again.load_state_dict(state)
    assert not torch.equal(signs(again)[moved], signs(net)[moved])


def test_float16_rounds_the_latent_weights_alone(tmp_path):
    net = network()
    before = weights.save(tmp_path / "f.safetensors", net.state_dict(), CFG, kind="float")
    told = shrink(before, CFG, tmp_path / "h.safetensors", "float16")
    found, binary = weights.load(tmp_path / "h.safetensors", CFG, "float"), signs(net)
    assert 0 <= told["changed"] < 0.01 and told["bytes"] < told["bytes_before"]
    for name, value in net.state_dict().items():
        assert torch.equal(found[name], value.half().float() if name in binary else value), name


def test_teachers(tmp_path):
    teacher = ConvNet(CFG)
    before = weights.save(tmp_path / "c.safetensors", teacher.state_dict(), CFG, kind="convnet")
    told = shrink(before, CFG, tmp_path / "h.safetensors", "float16")
    assert told["changed"] is None and told["bytes"] < 0.52 * told["bytes_before"]
    assert weights.load(told["file"], CFG, "convnet").keys() == teacher.state_dict().keys()
    with pytest.raises(UserError, match="more than signs"):
        shrink(before, CFG, tmp_path / "s.safetensors", "sign")
    deployed = weights.save(tmp_path / "d.safetensors", {"x": torch.ones(3)}, CFG)
    with pytest.raises(UserError, match="as small as they can be"):
        shrink(deployed, CFG, tmp_path / "s.safetensors", "float16")


def test_command(tmp_path, capsys):
    model = tmp_path / "m.yaml"
    model.write_text(json.dumps(CFG.model_dump(mode="json")))
    source = weights.save(tmp_path / "f.safetensors", network().state_dict(), CFG, kind="float")
    call = ["shrink-weights", str(model), "--weights", str(source), "--latents", "sign", "--json", "-o"]
    for out, code in ((tmp_path / "s.safetensors", 0), (source, 2)):
        with pytest.raises(SystemExit) as ended:
            main([*call, str(out)])
        assert ended.value.code == code
        told = json.loads(capsys.readouterr().out)
        assert told["changed"] == 0 if code == 0 else "The output is the input." in json.dumps(told)
