"""Parts of training against hand computation: losses, schedules, averages, augmentation, batches, twins."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bhvit.model.config import load_config
from bhvit.model.data import Dataset, FolderImages
from bhvit.model.network import BHViT
from bhvit.model.train import TrainConfig, augment, augmentation, learning_rate, loss, records
from bhvit.model.train.batches import Batches
from bhvit.model.train.ema import Ema
from bhvit.model.train.full_precision import binary_weights, relax, restore, signs
from bhvit.model.train.loop import parameter_groups

sys.path.insert(0, str(Path(__file__).parent))
from model_nets import CONFIGS, random_float

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def nano():
    config = load_config(CONFIGS / "nano.yaml")
    return config, *random_float(config)


# --- losses ---


def test_equation_14_by_hand():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])
    labels, taught = torch.tensor([0, 2]), torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    w = [torch.tensor([0.5, -1.5, 1.0]), torch.tensor([[0.0, 2.0]])]
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    smooth = 0.1 / 3
    own = torch.tensor([[0.9 + smooth, smooth, smooth], [smooth, smooth, 0.9 + smooth]])
    ce, distil = (float(-(t * log_p).sum(1).mean()) for t in (own, taught))
    re = ((0.5 + 0.5 + 0) / 3 + (1 + 1) / 2) / 2
    options = TrainConfig(teacher="logits:x.npz", distillation=0.6, regularization=0.1)
    target = loss.soft_targets(labels, 3, 0.1)
    for late, beta in ((False, 0.0), (True, 0.1)):
        got = loss.total_loss(logits, target, taught, w, loss.coefficients(options, late))
        assert float(got) == pytest.approx((1 - 0.6 - beta) * ce + 0.6 * distil + beta * re, rel=1e-6)
    plain = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert float(loss.total_loss(logits, target, None, w, (1, 0, 0))) == pytest.approx(float(plain), rel=1e-6)


def test_factors_of_paper_and_released_code():
    def factors(late, **changes):
        return pytest.approx(loss.coefficients(TrainConfig(**changes), late))

    assert factors(True) == (1, 0, 0)
    assert factors(True, regularization=0.1) == (0.9, 0, 0.1)
    code = {"loss": "code", "teacher": "logits:x"}
    assert factors(False, **code) == (0, 1, 0)
    assert factors(False, mixup=0.8, **code) == (0.1, 0.9, 0)
    assert factors(False, regularization=0.1, **code) == (0, 0.9, 0.1)
    with pytest.raises(ValueError, match="distils from a teacher"):
        TrainConfig(loss="code")


def test_beta_counts_in_the_last_tenth():
    options = TrainConfig(regularization=0.1)
    assert [e for e in range(1, 21) if options.late("float", e, 20, 18.0)] == [19, 20]
    wsd = TrainConfig(schedule="wsd", decay=0.05)  # decay of one epoch: nothing may happen before it
    assert [e for e in range(1, 21) if wsd.late("float", e, 20, 18.0)] == [20]


def test_regularized_weights_are_those_of_the_released_code(nano):
    config, net, _ = nano
    names = [n for n, _ in net.named_parameters() if loss.REGULARIZED.search(n)]
    blocks_a, blocks_b = sum(config.depths[:2]), sum(config.depths[2:])
    assert len(names) == 5 * blocks_a + 6 * blocks_b == len(loss.regularized_weights(net))
    assert not any("patch_embed" in n for n in names)
    assert len(binary_weights(net)) == len(names) + 3 * (config.downsample == "binary")


# --- schedules, optimizer, average ---


def test_wsd_is_flat_until_it_falls_and_does_not_depend_on_the_end():
    options = TrainConfig(schedule="wsd", learning_rate=1.0, warmup_epochs=1, decay=0.25, epochs=8)
    rates = [learning_rate(options, "float", step, 80, 10) for step in range(80)]
    assert rates[0] == pytest.approx(1 / 11) and rates[10:61] == [1.0] * 51
    assert rates[61] == pytest.approx(0.95) and rates[79] == pytest.approx(1 / 20)
    longer = [learning_rate(options, "float", step, 160, 10) for step in range(60)]
    assert longer == rates[:60]


def test_no_weight_decay_on_vectors(nano):
    net = nano[1]
    decayed, plain = parameter_groups(net, 0.1)
    named = {id(p): n for n, p in net.named_parameters()}
    names = {named[id(p)] for p in decayed["params"]}
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0
    assert all(n.endswith("weight") for n in names) and "classifier.weight" in names
    assert not any("norm" in n or "position" in n or "prelu" in n for n in names)
    assert len(decayed["params"]) + len(plain["params"]) == len(named)


def test_ema_by_hand():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema, values = Ema(net, 0.5), [net[0].weight.detach().clone()]
    expected, running = values[0], net[1].running_mean.clone()
    for step in range(6):
        with torch.no_grad():
            net[0].weight += 1 + step
            net[1].running_mean += 1
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
        running = decay * running + (1 - decay) * net[1].running_mean
        ema.update()
    torch.testing.assert_close(ema.state()["0.weight"], expected)
    torch.testing.assert_close(ema.state()["1.running_mean"], running)
    live = net[0].weight.detach().clone()
    ema.swap()
    torch.testing.assert_close(net[0].weight.detach(), expected)
    ema.swap()
    assert torch.equal(net[0].weight.detach(), live)
    other = Ema(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), 0.5)
    other.restore(ema.dump())
    assert other.steps == 6 and torch.equal(other.average["0.weight"], ema.average["0.weight"])


# --- augmentation ---


def images(count=6, side=16, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, side, side, channels)).astype(np.uint8)


@pytest.mark.parametrize("padding", ["edge", "reflect", "zero"])
def test_shift_equals_padding_and_cropping(padding):
    pictures, reach = images(), 3
    moved = augment(pictures, np.random.RandomState(5), reach / 16, True, padding).numpy()
    draw = np.random.RandomState(5)
    offsets = draw.randint(-reach, reach + 1, (6, 2))
    mirrored = draw.random_sample(6) < 0.5
    assert mirrored.any() and not mirrored.all()
    mode = {"edge": "edge", "reflect": "reflect", "zero": "constant"}[padding]
    padded = np.pad(pictures, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode)
    for i, (top, left) in enumerate(offsets + reach):
        image = padded[i, top:top + 16, left:left + 16]
        assert np.array_equal(moved[i], image[:, ::-1] if mirrored[i] else image)


def test_resized_crop_of_everything_is_the_image():
    pictures = torch.from_numpy(images())
    whole = np.tile([0.0, 0.0, 1.0, 1.0], (6, 1))
    assert torch.equal(augmentation.resized_crops(pictures, whole, np.zeros(6, bool)), pictures)
    mirrored = augmentation.resized_crops(pictures, whole, np.ones(6, bool))
    assert torch.equal(mirrored, pictures.flip(2))
    quarter = augmentation.resized_crops(pictures, np.tile([0.5, 0.0, 0.5, 0.5], (6, 1)), np.zeros(6, bool))
    assert abs(quarter.float().mean() - pictures[:, 8:, :8].float().mean()) < 3


def test_random_boxes_lie_inside_and_have_the_asked_area():
    box = augmentation.boxes(np.random.RandomState(0), 1000, 0.25)
    assert box.min() >= 0 and (box[:, :2] + box[:, 2:]).max() <= 1 + 1e-9
    area = box[:, 2] * box[:, 3]
    assert area.min() > 0.2 and area.max() <= 1 and 0.5 < area.mean() < 0.7


def test_erasing_and_operations():
    pictures = torch.from_numpy(images(64))
    erased = augmentation.erase(pictures, np.random.RandomState(0), 0.5)
    touched = (erased != pictures).flatten(1).any(1)
    assert 16 < touched.sum() < 48
    changed = augmentation.change(pictures, np.random.RandomState(0))
    assert changed.dtype == torch.uint8 and 40 < (changed != pictures).flatten(1).any(1).sum() < 64
    assert torch.equal(changed, augmentation.change(pictures, np.random.RandomState(0)))


def test_mixing_shares_match_the_pixels():
    black, white = torch.zeros(200, 16, 16, 1), torch.full((200, 16, 16, 1), 255.0)
    for alphas in ({"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}):
        options = TrainConfig(mix_probability=0.75, **alphas)
        mixed, share = augmentation.mix(black, white, np.random.RandomState(3), options, np.arange(200), 200)
        np.testing.assert_allclose(mixed.mean((1, 2, 3)).numpy() / 255, 1 - share, atol=0.003)
        assert 20 < (share == 1).sum() < 100 and share.min() < 0.3
        if alphas == {"cutmix": 1.0}:
            assert set(mixed.unique().tolist()) == {0.0, 255.0}


# --- batches ---


def dataset(count=64):
    return Dataset(images(count), np.arange(count) % 10, "made up")


def collect(options, **changes):
    return list(Batches(dataset(), options, True, 10, CPU, **changes).epoch("float", 3, 10))


@pytest.mark.parametrize("changes", [
    {}, {"mixup": 0.4, "cutmix": 1.0, "mix_probability": 0.8, "erase": 0.5, "operations": 1},
    {"crop": "resized", "cutmix": 1.0}])
def test_two_processes_see_what_one_sees(changes):
    options = TrainConfig(batch_size=16, **changes)
    for whole, *parts in zip(collect(options), *(collect(options, rank=r, world=2) for r in (0, 1))):
        for rank, part in enumerate(parts):
            assert torch.equal(part.images, whole.images[rank::2])
            assert torch.equal(part.target, whole.target[rank::2]) and torch.equal(part.labels, whole.labels[rank::2])
        assert torch.allclose(whole.target.sum(1), torch.ones(16))


def test_an_epoch_can_begin_in_the_middle():
    options = TrainConfig(batch_size=16, cutmix=1.0)
    batches = Batches(dataset(), options, True, 10, CPU)
    rest = list(batches.epoch("float", 3, 10, 2))
    for a, b in zip(rest, collect(options)[2:], strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.target, b.target)
    other = next(iter(batches.epoch("float", 4, 10)))
    assert not torch.equal(other.index, collect(options)[0].index)


def test_last_epochs_are_not_mixed():
    options = TrainConfig(batch_size=16, mixup=1.0, mix_off_epochs=2)
    batches = Batches(dataset(), options, False, 10, CPU)
    mixed = [float(next(iter(batches.epoch("float", epoch, 10))).share.min()) < 1 for epoch in range(1, 11)]
    assert mixed == [True] * 8 + [False] * 2


def test_photographs_are_cut_from_the_whole_picture(tmp_path):
    from PIL import Image

    left_black = np.zeros((40, 80, 3), np.uint8)
    left_black[:, 40:] = 255
    paths = []
    for i in range(8):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(left_black).save(paths[-1])
    lazy = FolderImages(paths, 16, 3)
    halves = lazy.crops(np.arange(2), np.array([[0, 0, 1, 0.5], [0, 0.5, 1, 0.5]]), np.zeros(2, bool))
    assert halves[0, :, :12].max() == 0 and halves[1, :, 4:].min() == 255
    data = Dataset(lazy, np.zeros(8, np.int64), "made up")
    for crop in ("shift", "resized"):
        batches = Batches(data, TrainConfig(batch_size=4, crop=crop, cutmix=1.0), True, 10, CPU)
        one, two = (list(batches.epoch("float", 1, 2)) for _ in range(2))
        assert len(one) == 2 and all(torch.equal(a.images, b.images) for a, b in zip(one, two))
        batches.close()


# --- twins ---


def test_full_precision_twin_computes_with_the_latent_weights(nano):
    config, net, pictures = nano
    binary = net(pictures).detach()
    name, weight = next((n, w) for n, w in binary_weights(net).items() if "intermediate.dense" in n)
    layer = net.get_submodule(name.removesuffix(".weight"))
    x = torch.randn(2, 5, weight.shape[1])
    relax(net)
    assert torch.equal(layer(x), x @ weight.T)
    assert torch.equal(net.get_submodule(name.removesuffix(".dense.weight")).sign(x), x)
    relaxed = net(pictures).detach()
    restore(net)
    assert not torch.allclose(relaxed, binary) and torch.equal(net(pictures).detach(), binary)
    relax(net, activations=False)
    assert set(net.get_submodule(name.removesuffix(".dense.weight")).sign(x).unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(layer(x), x @ weight.T)
    restore(net)
    assert config.name == net.config.name


def test_signs_and_flips(nano, tmp_path):
    config, net, pictures = nano
    before = signs(net)
    name, weight = next(iter(binary_weights(net).items()))
    rows = weight.detach().reshape(len(weight), -1)
    assert torch.equal(before[name].reshape(rows.shape), rows >= rows.mean(1, keepdim=True))
    with torch.no_grad():
        weight.neg_()
    flips = records.Flips()
    share = flips.add("float", before, signs(net))
    sizes = sum(w.numel() for w in before.values())
    assert share == pytest.approx(100 * weight.numel() / sizes, rel=0.01)
    with torch.no_grad():
        weight.neg_()
    assert flips.add("float", signs(net), signs(net)) == 0
    flips.write(tmp_path)
    lines = (tmp_path / "flips.csv").read_text().splitlines()
    assert lines[0] == "phase,epoch,layer,weights,flipped,percent" and len(lines) == 1 + 2 * len(before)
    records.write_histograms(tmp_path, net)
    lines = [line.split(",") for line in (tmp_path / "histograms.csv").read_text().splitlines()[1:]]
    assert sum(int(line[3]) for line in lines if line[0] == name) == weight.numel()
    frozen = BHViT(config)
    frozen.load_state_dict(net.state_dict())
    frozen.freeze(pictures)
    assert len(signs(frozen)) == len(before)
    with pytest.raises(RuntimeError, match="frozen"):
        relax(frozen)
