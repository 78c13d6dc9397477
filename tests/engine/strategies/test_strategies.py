"""What may be said of strategy and plugins, and what it means."""

from __future__ import annotations

import inspect
import os

import pytest
import torch

from engine import LightningDataModule, MisconfigurationException, Trainer
from engine.compat.arguments import parse
from engine.runtime.distributed.world import World, read_world
from engine.strategies import (
    ClusterEnvironment,
    DataParallelPlugin,
    DDPPlugin,
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    LightningEnvironment,
    SingleDevice,
    SingleDeviceStrategy,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from engine.strategies.choose import choose_strategy
from engine.strategies.declared.requested import INSTEAD, WORDS, strategy_request
from tests.engine.support.toy import Toy, loader, quiet

LAUNCHED = World(rank=1, local_rank=1, world_size=2, local_world_size=2, launched=True)


def placed(world: World = LAUNCHED, **arguments: object) -> SingleDevice:
    return choose_strategy(parse(arguments).hardware, world)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({}, "DDP", None),
        ({"strategy": "auto"}, "DDP", None),
        ({"accelerator": "ddp"}, "DDP", None),
        ({"accelerator": "ddp_cpu"}, "DDP", None),
        ({"accelerator": "dp"}, "DDP", "'dp' runs as 'ddp'"),
        ({"strategy": "ddp2"}, "DDP", "'ddp2' runs as 'ddp'"),
        ({"accelerator": "ddp_spawn"}, "DDP", "'ddp_spawn' runs as 'ddp'"),
        ({"distributed_backend": "ddp"}, "DDP", None),
        ({"accelerator": "cpu"}, "DDP", None),
        ({"accelerator": "auto"}, "DDP", None),
        ({"strategy": "ddp_find_unused_parameters_false"}, "DDP", None),
        ({"strategy": "fsdp"}, "FSDP", None),
        ({"accelerator": "ddp_sharded"}, "FSDP", "'ddp_sharded' runs as 'fsdp'"),
        ({"strategy": "ddp_fully_sharded"}, "FSDP", "'ddp_fully_sharded' runs as 'fsdp'"),
    ],
)
def test_every_word_is_heard(arguments, kind, said, capsys, monkeypatch):
    """S157, S236: and where it means something else than it did, one line says so; `dp` says what
    becomes of the batch size, too.
    """
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert type(placed(World(**{**vars(LAUNCHED), "rank": 0}), **arguments)).__name__ == kind
    err = capsys.readouterr().err
    assert (said or "runs as") in err if said else err == ""
    assert said is None or err.count("\n") == 1
    divides_batches = "dp" in arguments.values() or "ddp2" in arguments.values()
    assert ("batch size is that of each" in err) == divides_batches


def test_one_process_needs_no_strategy():
    """S157: any word for several is one process's way where there is one."""
    for word in (*WORDS, None):
        assert type(placed(World(), strategy=word)) is SingleDevice
    mine = SingleDevice(torch.device("cpu"), World())
    assert Trainer(strategy=mine).strategy is mine
    assert placed(World(), strategy=SingleDeviceStrategy("meta")).root_device.type == "meta"


@pytest.mark.parametrize("word", [*INSTEAD, "deepspeed_stage_2_offload", "tpu_spawn"])
def test_what_is_not_there_says_what_is(word):
    """S157, S241: TPUs and their like are refused with a sentence, never ignored."""
    known = word.split("_s")[0]
    with pytest.raises(MisconfigurationException, match="not supported") as error:
        strategy_request(word)
    assert INSTEAD[known] in str(error.value)
    if word in ("tpu", "ipu", "hpu"):
        with pytest.raises(MisconfigurationException, match=r"no .* support; give accelerator"):
            Trainer(accelerator=word)


def test_an_unknown_word_or_plugin_lists_the_known():
    """S157: the error has the words that there are."""
    with pytest.raises(MisconfigurationException, match="ddp_find_unused_parameters_true"):
        strategy_request("pdd")
    with pytest.raises(MisconfigurationException, match=r"DDPStrategy\(\)"):
        strategy_request(DDPStrategy)
    with pytest.raises(MisconfigurationException, match="object is not supported; there are DDPPl"):
        strategy_request(None, [object()])
    with pytest.raises(MisconfigurationException, match="both name a strategy"):
        strategy_request("fsdp", DDPPlugin())
    assert strategy_request(
        "ddp", DDPPlugin(find_unused_parameters=True)
    ).options  # as 1.x wrote it
    with pytest.raises(MisconfigurationException, match=r"'fsdp' divides|strategy='fsdp'"):
        DeepSpeedStrategy(stage=2)
    with pytest.raises(TypeError, match="no option 'find_unused'; there are broadcast_buffers"):
        DDPStrategy(find_unused=True)
    with pytest.raises(MisconfigurationException, match=r"DDPStrategy\(...\), accelerator=..."):
        Trainer(accelerator="cpu", strategy=DDPStrategy(accelerator="gpu"))
    with pytest.raises(MisconfigurationException, match="use 'ddp'"):
        placed(strategy=FSDPStrategy(), sync_batchnorm=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"strategy": DDPStrategy(find_unused_parameters=False, static_graph=True)},
        {"plugins": DDPPlugin(find_unused_parameters=False, static_graph=True)},
        {"accelerator": "ddp", "num_processes": 2}
        | {"strategy": None, "plugins": [LightningEnvironment()]},
        {"plugins": ["ddp_find_unused_parameters_false", None]},
    ],
)
def test_objects_in_place_of_words(arguments, monkeypatch):
    """S174: strategies of 1.5 on and plugins of 1.2 on, with the options of
    DistributedDataParallel.
    """
    if "accelerator" in arguments:
        arguments.pop("strategy")
        assert placed(World(), **arguments).world == World(world_size=2, local_world_size=2)
        return
    plan = strategy_request(arguments.get("strategy"), arguments.get("plugins"))
    assert plan.kind == "ddp"
    assert plan.options["find_unused_parameters"] is False
    assert type(placed(**arguments)).__name__ == "DDP"
    assert strategy_request(None, DataParallelPlugin()).remark.startswith("'dp' runs as 'ddp'")


@pytest.mark.parametrize(
    ("per_node", "own_word", "called"),
    [
        (True, True, {"0/0": True, "1/1": False, "2/0": True, "3/1": False}),
        (False, True, {"0/0": True}),
        (None, False, {"0/0": True}),
    ],
)
def test_who_prepares_data(tmp_path, per_node, own_word, called):
    """S173, S239: the first rank of each node, or the first of all, and it does so once a verb; the
    module, or the data module, may say it as well.
    """
    found = {}
    for place_of in ("0/0", "1/1", "2/0", "3/1"):
        rank, local_rank = map(int, place_of.split("/"))
        calls = []

        class Prepares(Toy):
            def prepare_data(self, calls=calls):
                calls.append(1)

        class Data(LightningDataModule):
            def __init__(self):
                super().__init__()
                assert self.prepare_data_per_node
                self.prepare_data_per_node = own_word

            def prepare_data(self, calls=calls):
                calls.append(2)

            def train_dataloader(self):
                return loader()

            val_dataloader = train_dataloader

        world = World(rank, local_rank, world_size=1, node_rank=rank // 2, launched=True)
        trainer = quiet(
            tmp_path,
            strategy=SingleDevice(torch.device("cpu"), world),
            prepare_data_per_node=per_node,
            limit_train_batches=0,
            limit_val_batches=0,
        )
        model = Prepares()
        model.prepare_data_per_node = own_word
        trainer.fit(model, datamodule=Data())
        found[place_of] = calls
    assert found == {name: [2, 1] if called.get(name) else [] for name in found}


def test_a_module_is_where_the_trainer_puts_it(tmp_path):
    """S077, S080, S240: parameters, buffers and batches are on the trainer's device, and tensors
    that a step makes by `self.device` or `type_as`; no line of the module names a device.
    """
    seen = set()

    class Elsewhere(Toy):
        def __init__(self):
            super().__init__()
            self.register_buffer("sigma", torch.eye(4))

        def training_step(self, batch, batch_idx):
            made = torch.ones(4, device=self.device) + torch.zeros(4).type_as(batch[0])
            seen.update({batch[0].device.type, self.sigma.device.type, made.device.type})
            return self(batch[0] @ self.sigma + made).sum()

    model = Elsewhere()
    assert "sigma" in model.state_dict()
    elsewhere = SingleDevice(torch.device("meta"), World())
    quiet(tmp_path, strategy=elsewhere, limit_val_batches=0).fit(model, loader(), loader())
    assert seen == {"meta"}
    assert {p.device.type for p in model.parameters()} == {"meta"} == {model.device.type}


TASK = {
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_JOB_ID": "4242",
    "SLURM_JOB_NAME": "mine",
}


def test_environments_say_who_this_process_is(monkeypatch):
    """SLURM's and torchrun's are read; `LightningEnvironment` leaves SLURM's out; an own one says
    it all, and is as good as a launcher.
    """
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    slurm, plain = SLURMEnvironment(auto_requeue=False), LightningEnvironment()
    assert slurm.detect() and slurm.creates_processes_externally
    found = [slurm.world_size(), slurm.global_rank(), slurm.local_rank(), slurm.node_rank()]
    assert found == [4, 3, 1, 1]
    assert (slurm.main_address, slurm.job_id(), slurm.job_name()) == ("gpu03", 4242, "mine")
    assert (plain.world_size(), plain.creates_processes_externally) == (1, False)
    assert placed(World(), plugins=plain).world == World()
    assert placed(World(), plugins=[slurm], accelerator="cpu").world.rank == 3
    assert not TorchElasticEnvironment.detect()
    # In no step of srun's the job's variables answer; this process is alone all the same.
    job = {"NTASKS": "20", "NODELIST": "10.1.1.1, 10.1.1.2", "NODEID": "3"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_STEP_ID")
    found = [slurm.world_size(), slurm.global_rank(), slurm.local_rank(), slurm.node_rank()]
    assert found == [20, 3, 1, 3]
    assert (slurm.main_address, slurm.main_port) == ("10.1.1.1", 15000 + 4242)
    assert placed(World(), plugins=[slurm], accelerator="cpu").world == World()
    monkeypatch.setenv("MASTER_PORT", "777")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert slurm.main_port == 777
    monkeypatch.delenv("MASTER_PORT")
    monkeypatch.delenv("SLURM_NTASKS")
    # Bound to its GPU by srun, a task sees that one only: the number was for srun.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    device = placed(read_world(), gpus=2, num_nodes=2).root_device
    assert device == torch.device("cuda", 0)
    for name in TASK:
        monkeypatch.delenv(name)

    class Mine(ClusterEnvironment):
        main_address, main_port = "10.1.2.3", 1234

        def world_size(self) -> int:
            return 6

        def global_rank(self) -> int:
            return 4

        def local_rank(self) -> int:
            return 1

        def node_rank(self) -> int:
            return 1

    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK"):
        monkeypatch.setenv(name, "")  # so that all of them are taken back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("MASTER_ADDR", "")
    monkeypatch.setenv("MASTER_PORT", "")
    world = placed(World(), plugins=Mine(), num_nodes=2, devices=3, accelerator="cpu").world
    assert (world.rank, world.world_size, world.local_world_size) == (4, 6, 3)
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("10.1.2.3", "1234")
    assert TorchElasticEnvironment.detect()


def test_environments_answer_from_their_variables(monkeypatch):
    """Asked without a Trainer: each variable counts by itself, and what a program has set."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    plain, elastic = LightningEnvironment(), TorchElasticEnvironment()
    assert [plain.world_size(), plain.global_rank(), plain.local_rank(), plain.node_rank()] == [
        *(1, 0, 0, 0)
    ]
    assert plain.main_port == plain.main_port > 1023
    plain.set_world_size(6)
    plain.set_global_rank(5)
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("GROUP_RANK", "3")
    assert (plain.world_size(), plain.global_rank(), plain.local_rank()) == (6, 5, 2)
    assert (plain.node_rank(), elastic.node_rank(), elastic.main_port) == (3, 3, 12910)
    monkeypatch.setenv("NODE_RANK", "4")
    monkeypatch.setenv("MASTER_PORT", "4711")
    assert (plain.node_rank(), plain.main_port, elastic.main_port) == (4, 4711, 4711)
    monkeypatch.setenv("RANK", "9")
    assert (elastic.global_rank(), elastic.local_rank(), elastic.world_size()) == (9, 2, 1)
    assert placed(World(), plugins=plain).world == World()


def test_a_loaded_module_is_a_module(tmp_path):
    """S081: `model.eval(); y = model(x)` without any trainer, with the weights that were saved."""
    model = Toy(dropout=0.5)
    trainer = quiet(tmp_path)
    trainer.fit(model, loader(), loader())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    loaded = Toy.load_from_checkpoint(tmp_path / "one.ckpt")
    x = torch.ones(3, 4)
    loaded.eval(), model.eval()
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
        assert torch.equal(loaded(x), loaded(x))
    loaded.train()
    assert loaded(x).requires_grad


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_module_that_was_never_in_a_run_has_no_trainer():
    """S081: it is None, as old code asks; torch's own tools may look at every attribute."""
    model = Toy().eval()
    assert (model.trainer, hasattr(model, "trainer")) == (None, True)
    x = torch.ones(3, 4)
    traced = torch.jit.trace(model, x)
    assert torch.equal(traced(x), model(x))
    assert dict(inspect.getmembers(model))["trainer"] is None
    with pytest.raises(RuntimeError, match="Toy is not attached to a Trainer"):
        model.optimizers()
