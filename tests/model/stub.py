"""A very small network with the interface of BHViT, for tests of what surrounds the network."""

import torch
from torch import nn


class StubNet(nn.Module):
    """Mean over 4x4 patches, batch norm and a linear layer; freezing rounds the weights to 1/64."""

    def __init__(self, cfg):
        super().__init__()
        self.side = cfg.image_size // 4
        features = self.side**2 * cfg.image_channels
        self.norm, self.linear = nn.BatchNorm1d(features), nn.Linear(features, cfg.classes)
        self.frozen = False

    def forward(self, images):
        b, c = images.shape[0], images.shape[3]
        x = images.reshape(b, self.side, 4, self.side, 4, c).mean((2, 4)).reshape(b, -1) / 64
        if not self.frozen:
            return self.linear(self.norm(x))
        weight = self.linear.weight + (torch.round(self.linear.weight * 64) / 64 - self.linear.weight).detach()
        return x @ weight.T + self.linear.bias

    def freeze(self, images):
        assert images.dtype == torch.float32 and images.shape[1] == images.shape[2]
        scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        with torch.no_grad():
            self.linear.bias += self.linear.weight @ (self.norm.bias - self.norm.running_mean * scale)
            self.linear.weight *= scale
        self.norm = nn.Identity()
        self.frozen = True

    def deployed_state(self):
        return {"weight": torch.round(self.linear.weight.detach() * 64) / 64, "bias": self.linear.bias.detach()}

    @classmethod
    def from_deployed(cls, cfg, state):
        net = cls(cfg)
        net.norm, net.frozen = nn.Identity(), True
        net.linear.load_state_dict(state)
        return net.eval()
