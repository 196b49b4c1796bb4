"""A research folder with a network of its own, small enough for tests: two blocks after a stem of stride 4."""

from __future__ import annotations

from pathlib import Path

NETWORK = """
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from widths import WIDTH  # lies beside this file

INPUT_SIZE = 64
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


class Net(nn.Module):
    def __init__(self, channels=3, classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTH, 7, stride=4, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.maxpool = nn.Identity()
        self.layer1 = nn.Sequential(BasicBlock(WIDTH, WIDTH), BasicBlock(WIDTH, WIDTH))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTH, classes)

    def forward(self, x):
        x = self.layer1(self.maxpool(torch.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def make():
    return Net()
"""


def research_folder(folder: Path, more: str = "") -> Path:
    """Makes the folder; the file of its network `make`, followed by `more`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "widths.py").write_text("WIDTH = 8\n")
    path = folder / "net.py"
    path.write_text(NETWORK + more)
    return path
