"""LightningLite: a loop of one's own equals the plain loop, on one rank and on two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from engine import LightningLite, LightningModule, MisconfigurationException
from engine.compat.legacy.lite_parts import LiteDataLoader, LiteModule, LiteOptimizer
from tests.engine.support.compat_runs import compat
from tests.engine.support.toy import loader, samples


def net(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(5)
    layers = [torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Tanh(), torch.nn.Linear(8, 2)]
    return torch.nn.Sequential(*layers).to(dtype)


class Lite(LightningLite):
    """Trains a small model for two epochs; returns its weights."""

    def run(self, size: int = 4, dtype: torch.dtype = torch.float32, clip: bool = False) -> Any:
        self.seed_everything(3)
        model = net(dtype)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        model, optimizer = self.setup(model, optimizer)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        batches = self.setup_dataloaders(DataLoader(samples(dtype=dtype), size, shuffle=True))
        torch.manual_seed(11)
        for _ in range(2):
            model.train()
            for x, y, _ in batches:
                optimizer.zero_grad()
                self.backward(functional.cross_entropy(model(x), y))
                if clip:
                    self.clip_gradients(model, optimizer, max_norm=0.05)
                optimizer.step()
            scheduler.step()
        self.rates, self.model, self.optimizer = scheduler.get_last_lr(), model, optimizer
        self.batches = batches
        return {name: value.clone() for name, value in model.state_dict().items()}


def plain(dtype: torch.dtype = torch.float32, context: Any = None, clip: bool = False) -> Any:
    torch.manual_seed(3)
    model = net(dtype)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    batches = DataLoader(samples(dtype=dtype), 4, shuffle=True)
    torch.manual_seed(11)
    for _ in range(2):
        for x, y, _ in batches:
            optimizer.zero_grad()
            if context is None:
                output = model(x)
            else:
                with context:
                    output = model(x).float()
            functional.cross_entropy(output, y).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
        scheduler.step()
    return model.state_dict()


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("clip", [False, True])
def test_one_rank_is_the_plain_loop(clip: bool) -> None:
    """To the last bit, shuffled, with dropout and a scheduler; the parts are what they wrap."""
    lite = Lite()
    assert same(lite.run(clip=clip), plain(clip=clip)) and lite.rates == [0.025]
    assert isinstance(lite.optimizer, torch.optim.SGD) and isinstance(lite.optimizer, LiteOptimizer)
    assert isinstance(lite.model, LiteModule) and isinstance(lite.model.module, torch.nn.Module)
    assert [name for name, _ in lite.model.named_parameters()] == list(lite.model.state_dict())
    assert len(lite.batches) == 6 and len(lite.batches.dataset) == 24
    ranks = (lite.global_rank, lite.local_rank, lite.node_rank, lite.world_size)
    assert ranks == (0, 0, 0, 1) and lite.is_global_zero and lite.device.type == "cpu"


def test_precisions_are_those_of_the_plain_loop() -> None:
    """bf16 under autocast with outputs in 32 bits; 64 bits through and through."""
    context = torch.autocast("cpu", dtype=torch.bfloat16)
    assert same(Lite(precision="bf16").run(), plain(context=context))
    double = Lite(precision=64).run()  # model and batches come in 32 bits
    first = net().double().state_dict()
    assert all(value.dtype == torch.float64 for value in double.values())
    assert not any(torch.equal(double[name], first[name]) for name in double)
    assert same(Lite(precision=64).run(dtype=torch.float64), plain(torch.float64))


def test_16_bits_scale_the_loss() -> None:
    """A step without finite gradients is left out, and those of another optimizer keep the scale
    that their loss had.
    """

    class Two(LightningLite):
        def run(self, others: bool) -> Any:
            parts = []
            for _ in range(2):
                model = net().eval()
                parts.append(self.setup(model, torch.optim.SGD(model.parameters(), 0.1)))
            (first, one), (second, two) = parts
            x = torch.linspace(-1, 1, 16).reshape(4, 4)
            for _ in range(2):
                assert first(x).dtype == torch.float32
                if others:
                    self.backward(first(x).square().mean() * 1e6)
                self.backward(second(x).square().mean())
                if others:
                    one.step()
                assert two.step(lambda: 7) == 7
                one.zero_grad()
                two.zero_grad()
            return first.state_dict(), second.state_dict()

    first, second = Two(precision=16).run(others=True)
    assert same(first, net().state_dict())  # its gradients were never finite
    alone = Two(precision=16).run(others=False)[1]
    assert all(torch.allclose(second[name], alone[name], rtol=1e-2, atol=1e-4) for name in alone)
    assert not same(second, net().state_dict())


def test_files_devices_and_words(tmp_path: Path, capsys: Any) -> None:
    """Saved whole and read as plain data; what moves, prints and gathers on one rank."""

    class Words(LightningLite):
        def run(self, folder: Path, more: int = 1) -> int:
            model = self.setup(net())
            self.save({"model": model.state_dict(), "more": more}, folder / "deep" / "lite.pt")
            found = self.load(folder / "deep" / "lite.pt")
            model.load_state_dict(found["model"])
            self.print("a line")
            self.barrier()
            assert self.broadcast([1]) == [1] and self.all_gather({"a": 2})["a"] == 2
            assert self.to_device({"a": torch.ones(2)})["a"].device == self.device
            assert self.to_device(model).device == self.device == model.device
            assert model.dtype == torch.float32
            with self.autocast():
                pass
            with self.no_backward_sync(model):
                return int(found["more"]) + more

    assert Words(accelerator="cpu").run(tmp_path, more=2) == 4
    assert capsys.readouterr().out == "a line\n"


def test_what_lite_cannot_take_says_what_to_do() -> None:
    """Parts twice, loaders of no kind, strategies and devices there are not, a run that is none."""
    lite = Lite()
    model, optimizer = lite.setup(net(), torch.optim.SGD(net().parameters(), 0.1))
    for parts in ((model,), (net(), optimizer)):
        with pytest.raises(MisconfigurationException, match="something that it returned"):
            lite.setup(*parts)
    batches = lite.setup_dataloaders(loader())
    assert isinstance(batches, LiteDataLoader) and batches.sampler is batches._loader.sampler
    for given in (batches, [1, 2]):
        with pytest.raises(MisconfigurationException, match="takes DataLoaders of torch"):
            lite.setup_dataloaders(given)
    with pytest.raises(MisconfigurationException, match=r"^Lite\(.*TPU"):
        Lite(tpu_cores=8)
    with pytest.raises(MisconfigurationException, match=r"^Lite\(strategy='deepspeed'\)"):
        Lite(strategy="deepspeed")
    with pytest.raises(MisconfigurationException, match="has no `run`"):
        LightningLite().run()

    class Endless(IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(range(3))

    both = lite.setup_dataloaders(DataLoader(Endless(), None), loader())
    assert list(both[0]) == [0, 1, 2] and len(both[1]) == 6
    with pytest.raises(TypeError):
        len(both[0])


class Step(LightningModule):
    """Its training_step is called by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net(torch.float64)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return functional.cross_entropy(self.net(batch[0]), batch[1])


PROGRAM = """
import os, sys, torch
from torch.utils.data import DataLoader, RandomSampler
from pytorch_lightning.lite import LightningLite
from tests.engine.compat.test_lite import Step, net, samples
from torch.nn import functional

class Lite(LightningLite):
    def run(self, size):
        torch.manual_seed(3)
        model = net(torch.float64).eval()  # no dropout: ranks would draw their own
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        model, optimizer = self.setup(model, optimizer)
        module, other = self.setup(Step().eval(), torch.optim.SGD(Step().parameters(), 0.1))
        data = samples(dtype=torch.float64)
        loader, shuffled = self.setup_dataloaders(
            DataLoader(data, size), DataLoader(data, size, shuffle=True)
        )
        seen = []
        for epoch in range(3):
            for step, batch in enumerate(loader):
                x, y, index = batch
                seen.append(index.tolist())
                last = step % 2 == 1
                with self.no_backward_sync(model, enabled=not last):
                    self.backward(functional.cross_entropy(model(x), y) / 2)
                if last:
                    optimizer.step()
                    optimizer.zero_grad()
                self.backward(module.training_step(batch, step))
        orders = []
        for _ in range(2):
            orders.append([i for _, _, index in shuffled for i in index.tolist()])
        shuffled.sampler.set_epoch(0)
        orders.append([i for _, _, index in shuffled for i in index.tolist()])
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        grads = torch.cat([p.grad.flatten() for p in module.parameters()])
        both = self.all_gather(weights)
        assert torch.equal(both[0], both[1])
        assert torch.equal(*self.all_gather(grads))
        self.save({"weights": weights.tolist(), "grads": grads.tolist(), "seen": seen[:2],
                    "world": self.world_size}, "zero.pt")
        torch.save(orders, f"orders-{self.global_rank}.pt")
        self.barrier()
        self.print("done by", self.global_rank)
        return self.global_rank

rank = Lite(devices=2, accelerator="cpu", strategy="ddp").run(3)
assert rank == int(os.environ["RANK"])
"""


def test_two_ranks_are_the_plain_loop_with_both_their_batches(tmp_path: Path) -> None:
    """Started by itself, as an old program: gradients are averaged, also of a `training_step` and
    with accumulation; samples are divided, shuffled anew in each epoch, none left out.
    """
    (tmp_path / "program.py").write_text(PROGRAM)
    done = compat(["program.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "[Gloo]" not in line]  # so older torch
    assert said == ["done by 0"]

    model, module = net(torch.float64).eval(), Step().eval()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        for step, (x, y, index) in enumerate(DataLoader(samples(dtype=torch.float64), 6)):
            (functional.cross_entropy(model(x), y) / 2).backward()
            if step % 2 == 1:
                optimizer.step()
                optimizer.zero_grad()
            module.training_step((x, y, index), step).backward()
    found = torch.load(tmp_path / "zero.pt")
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    exact = torch.tensor(found["weights"], dtype=torch.float64)
    assert torch.allclose(exact, weights, rtol=1e-12, atol=1e-12)
    grads = torch.cat([p.grad.flatten() for p in module.parameters()])
    averaged = torch.tensor(found["grads"], dtype=torch.float64)
    assert torch.allclose(averaged, grads, rtol=1e-12, atol=1e-12)
    assert (found["world"], found["seen"]) == (2, [[0, 2, 4], [6, 8, 10]])
    orders = [torch.load(tmp_path / f"orders-{rank}.pt") for rank in (0, 1)]
    epochs = list(zip(*orders, strict=True))
    assert all(sorted(mine + theirs) == list(range(24)) for mine, theirs in epochs)
    assert epochs[0] != epochs[1] and epochs[0] == epochs[2]
