"""Files of models for the converters' tests; PyTorch and TensorFlow are imported by who calls for them."""

TORCH_SOURCE = '''
"""A module, functions that make one, and things that are none."""
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.norm = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
        self.linear, self.drop = torch.nn.Linear(8 * 8 * 8, 10), torch.nn.Dropout()

    def forward(self, image, scale=None):
        y = self.linear(self.drop(torch.relu(self.norm(self.conv(image))).flatten(1)))
        return y if scale is None else y * scale


class Embedding(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.table = torch.nn.Embedding(50, 16)

    def forward(self, ids, mask):
        words = self.table(ids)
        return {"mean": words.mean(1), "masked": words * mask[..., None]}


class Random(torch.nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def make():
    return Net()


def pair():
    return Embedding(), (torch.randint(0, 50, (2, 5)), torch.rand(2, 5))


three = 3
'''
