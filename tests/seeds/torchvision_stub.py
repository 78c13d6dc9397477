"""What the old code wants of torchvision, which has no build for this torch: tiny, and no files."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

COUNT = 60
downloads: list[str] = []


class _Images(Dataset):
    """Random images whose class shows in their brightness; `download` is noted."""

    shape: tuple[int, ...] = (32, 32, 3)

    def __init__(
        self,
        root: Any,
        train: bool = True,
        transform: Any = None,
        target_transform: Any = None,
        download: bool = False,
    ) -> None:
        self.root, self.transform = root, transform
        draw = np.random.default_rng(int(train))
        self.targets = [n % 10 for n in range(COUNT)]
        light = np.array(self.targets).reshape(-1, *(1 for _ in self.shape))
        self.data = (light * 20 + draw.integers(0, 50, (COUNT, *self.shape))).astype(np.uint8)
        if download:
            downloads.append(type(self).__name__)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.data[index]
        return (self.transform(image) if self.transform else image), self.targets[index]


class CIFAR10(_Images):
    """60 images of 32x32 pixels in colour."""


class MNIST(_Images):
    """60 grey images of 28x28 pixels."""

    shape = (28, 28)


class ImageFolder(_Images):
    """60 images in colour, larger than is wanted."""

    shape = (40, 48, 3)

    def __init__(self, root: Any, transform: Any = None) -> None:
        super().__init__(root, transform=transform)


class Compose:
    """One after the other."""

    def __init__(self, parts: list[Any]) -> None:
        self.transforms = parts

    def __call__(self, image: Any) -> Any:
        for part in self.transforms:
            image = part(image)
        return image


class ToTensor:
    """Bytes, colours last, to numbers up to 1, colours first."""

    def __call__(self, image: Any) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(image)).float() / 255
        return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1)


class Normalize:
    """Take off a mean, divide by a deviation."""

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = (torch.as_tensor(v).float().view(-1, 1, 1) for v in (mean, std))

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.mean) / self.std


class RandomHorizontalFlip:
    """Mirror one of two images."""

    def __call__(self, image: Any) -> Any:
        return image[:, ::-1] if torch.rand(()) < 0.5 else image


class Resize:
    """Every n-th pixel, the first size x size of them."""

    def __init__(self, size: Any) -> None:
        self.size = (size, size) if isinstance(size, int) else size

    def __call__(self, image: Any) -> Any:
        height, width = self.size
        rows = np.arange(height) * image.shape[0] // height
        return image[rows][:, np.arange(width) * image.shape[1] // width]


class RandomResizedCrop(Resize):
    """Nothing random is needed here."""

    def __init__(self, size: Any, scale: Any = None, ratio: Any = None) -> None:
        super().__init__(size)


def resnet50(pretrained: bool = False, num_classes: int = 1000) -> nn.Module:
    """The parts of a ResNet by their names and in their order, small."""
    net = nn.Sequential()
    net.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    net.bn1 = nn.BatchNorm2d(8)
    net.relu = nn.ReLU()
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    net.flatten = nn.Flatten()
    net.fc = nn.Linear(8, num_classes)
    return net


def modules() -> dict[str, ModuleType]:
    """The modules by their names in sys.modules."""
    rooms: dict[str, dict[str, Any]] = {
        "datasets": {"CIFAR10": CIFAR10, "MNIST": MNIST, "ImageFolder": ImageFolder},
        "models": {"resnet50": resnet50, "resnet18": resnet50},
        "transforms": {
            each.__name__: each
            for each in (
                Compose,
                Normalize,
                RandomHorizontalFlip,
                RandomResizedCrop,
                Resize,
                ToTensor,
            )
        },
    }
    root = ModuleType("torchvision")
    found = {"torchvision": root}
    for name, attributes in rooms.items():
        module = ModuleType(f"torchvision.{name}")
        module.__dict__.update(attributes)
        root.__dict__[name] = found[module.__name__] = module
    return found
