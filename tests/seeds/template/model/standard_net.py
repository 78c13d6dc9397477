"""The smallest network that tells colours apart."""

from torch import nn


class StandardNet(nn.Module):
    def __init__(self, in_channel=3, hid=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(in_channel, hid, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(hid, 1),
        )

    def forward(self, x):
        return self.net(x).squeeze(1)
