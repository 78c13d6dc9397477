"""Pictures of two kinds, told by their colour."""

import torch
from torch.utils.data import Dataset


class StandardData(Dataset):
    def __init__(self, data_dir="ref/data", train=True):
        self.data_dir = data_dir
        fixed = torch.Generator().manual_seed(int(train))
        self.labels = torch.randint(0, 2, (64 if train else 32,), generator=fixed)
        noise = torch.rand(len(self.labels), 3, 8, 8, generator=fixed)
        self.images = noise + self.labels.view(-1, 1, 1, 1)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index].float(), f"{self.data_dir}/{index}.png"
