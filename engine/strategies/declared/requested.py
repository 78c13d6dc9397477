"""From the Trainer's strategy and plugins to one request, without side effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.runtime.errors import MisconfigurationException
from engine.strategies.declared.environments import ClusterEnvironment
from engine.strategies.declared.objects import DDPStrategy, FSDPStrategy


@dataclass(frozen=True)
class StrategyRequest:
    """A strategy by its kind (auto, single, ddp, fsdp) and options, and what to say of it."""

    kind: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    sync_batchnorm: bool = False
    backend: str | None = None  # of the process group
    environment: ClusterEnvironment | None = None
    remark: str | None = None
    start: str | None = None  # fork or spawn: how ranks start where there is no script to run again


_SAME = "the other processes run the same script; nothing is pickled"
_DP = (
    "one process a device. The batch size is that of each of them, where dp divided it among its "
    "devices"
)
_SHARDED = "torch's own sharding takes the place of FairScale's"

# word: kind, options, what is said
WORDS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "auto": ("auto", {}, None),
    "single_device": ("single", {}, None),
    "ddp": ("ddp", {}, None),
    "ddp_cpu": ("ddp", {}, None),
    "ddp_spawn": ("ddp", {}, _SAME),
    "ddp_fork": ("ddp", {}, _SAME),
    "ddp_notebook": ("ddp", {}, _SAME),
    **{
        f"{word}_find_unused_parameters_{str(unused).lower()}": (
            "ddp",
            {"find_unused_parameters": unused},
            None if word == "ddp" else _SAME,
        )
        for word in ("ddp", "ddp_spawn", "ddp_fork", "ddp_notebook")
        for unused in (True, False)
    },
    "dp": ("ddp", {}, _DP),
    "ddp2": ("ddp", {}, _DP),
    "fsdp": ("fsdp", {}, None),
    "fsdp_native": ("fsdp", {}, None),
    "fsdp_cpu_offload": ("fsdp", {"cpu_offload": True}, None),
    "ddp_sharded": ("fsdp", {}, _SHARDED),
    "ddp_sharded_spawn": ("fsdp", {}, _SHARDED),
    "ddp_fully_sharded": ("fsdp", {}, _SHARDED),
}

_SHARDS = "'fsdp' divides parameters, gradients and optimizer states among the ranks"
INSTEAD = {
    "deepspeed": _SHARDS,
    "bagua": "use 'ddp'",
    "colossalai": _SHARDS,
    "hivemind": "use 'ddp'",
    "horovod": "use 'ddp', and start the script with plaunch or torchrun in place of horovodrun",
    "hpu": "there is no Habana support; give accelerator 'cpu' or 'gpu'",
    "ipu": "there is no Graphcore support; give accelerator 'cpu' or 'gpu'",
    "model_parallel": _SHARDS,
    "tpu": "there is no TPU support; give accelerator 'cpu' or 'gpu'",
    "xla": "there is no TPU support; give accelerator 'cpu' or 'gpu'",
    "single_tpu": "there is no TPU support; give accelerator 'cpu' or 'gpu'",
}


def strategy_request(strategy: Any, plugins: Any = None) -> StrategyRequest:
    """What `strategy` and `plugins` ask for; raises for what there is not."""
    environment: ClusterEnvironment | None = None
    for plugin in plugins if isinstance(plugins, (list, tuple)) else [plugins]:
        if plugin is None:
            continue
        if isinstance(plugin, ClusterEnvironment):
            environment = plugin
        elif isinstance(plugin, (str, DDPStrategy)):
            if strategy is not None and _kind(strategy) != _kind(plugin):
                raise MisconfigurationException(
                    f"Trainer(strategy={strategy!r}, plugins={plugin!r}): both name a strategy; "
                    "give one of them"
                )
            strategy = plugin
        else:
            raise MisconfigurationException(
                f"Trainer(plugins=...): {type(plugin).__name__} is not supported; there are "
                "DDPPlugin and its like, SLURMEnvironment, LightningEnvironment and "
                "TorchElasticEnvironment (engine.strategies)"
            )
    if isinstance(strategy, DDPStrategy):
        kind, options, remark = _of_word(strategy.word)
        options = {**options, **strategy.options}
        start = _STARTS.get(options.pop("start_method", None)) or _start_of(strategy.word)
        return StrategyRequest(
            kind,
            options,
            strategy.sync_batchnorm,
            strategy.process_group_backend,
            environment or strategy.cluster_environment,
            remark,
            start,
        )
    kind, options, remark = _of_word("auto" if strategy is None else strategy)
    start = _start_of(strategy)
    return StrategyRequest(kind, options, environment=environment, remark=remark, start=start)


# "popen" is a script once more; where there is none, the default is as good.
_STARTS = {"fork": "fork", "spawn": "spawn", "forkserver": "spawn"}


def _start_of(word: object) -> str | None:
    """The start method that a word names: "fork" is what a notebook needs."""
    parts = str(word).split("_")
    if "spawn" in parts:
        return "spawn"
    return "fork" if "fork" in parts or "notebook" in parts else None


def _kind(strategy: Any) -> str:
    """What 1.x wrote twice, `accelerator="ddp", plugins=DDPPlugin(...)`, is one strategy."""
    return _of_word(strategy.word if isinstance(strategy, DDPStrategy) else strategy)[0]


def _of_word(word: object) -> tuple[str, dict[str, Any], str | None]:
    if isinstance(word, str) and word in WORDS:
        kind, options, remark = WORDS[word]
        said = None if remark is None else f"{word!r} runs as {kind!r}: {remark}"
        return kind, options, said
    if isinstance(word, type) and issubclass(word, (DDPStrategy, FSDPStrategy)):
        raise MisconfigurationException(
            f"Trainer(strategy={word.__name__}): give an object, {word.__name__}()"
        )
    first = str(word).split("_stage")[0].removesuffix("_spawn").removesuffix("_offload")
    why = INSTEAD.get(first) or INSTEAD.get(first.split("_")[0])
    raise MisconfigurationException(
        f"Trainer(strategy={word!r}) is not supported"
        + (f": {why}" if why else f"; there are {', '.join(WORDS)}")
    )
