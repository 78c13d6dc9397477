"""The drawing of the house: which room may import which. Changing it is a design decision.

A room is a module, or a folder of modules that belong together. Imports inside functions count
like any other; those for type checkers only don't.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from launcher.cargo import SOURCES

ROOT = Path(__file__).parents[1]

# Data and small words that any room of the same package may use.
LAUNCHER_WORDS = "launcher.job launcher.clusters.base"
ENGINE_WORDS = (
    "engine.errors engine.settings engine.distributed engine.slurm_world engine.torch_parts "
    "engine.compat_flags"
)

DRAWING = {
    # doors
    "launcher": "launcher.api launcher.report",
    "launcher.__main__": "launcher.cli",
    "launcher.cli": "launcher.request launcher.run launcher.look launcher.output "
    "launcher.job_words",
    "launcher.api": "launcher.request launcher.run launcher.output",
    # words to calls
    "launcher.run": "launcher.request launcher.queued launcher.look launcher.controller "
    "launcher.clusters.base "
    "launcher.fleet launcher.index launcher.link launcher.output launcher.placement "
    "launcher.requeue launcher.rundir launcher.slurmctl",
    "launcher.request": "launcher.config_error launcher.discovery launcher.clusters "
    "launcher.gpu_request launcher.output launcher.ray_request launcher.rundir",
    "launcher.ray_request": "launcher.clusters launcher.config_error launcher.gpu_request",
    # jobs, from outside
    "launcher.job_words": "launcher.status launcher.job_logs launcher.cancel launcher.output "
    "launcher.request launcher.slurmctl",
    "launcher.status": "launcher.index launcher.job_end launcher.job_status launcher.output "
    "launcher.run_facts",
    "launcher.job_logs": "launcher.index launcher.job_status launcher.output launcher.request "
    "launcher.run_facts launcher.tail",
    "launcher.cancel": "launcher.index launcher.job_status launcher.output launcher.run_facts "
    "launcher.slurm_jobs launcher.slurmctl",
    "launcher.job_status": "launcher.history launcher.index launcher.job_end launcher.request "
    "launcher.run_facts launcher.rundir launcher.slurm_jobs launcher.slurm_words "
    "launcher.slurmctl",
    "launcher.run_facts": "launcher.history launcher.rundir",
    # through a queue
    "launcher.queued": "launcher.batch_script launcher.follow_job launcher.job_end "
    "launcher.output launcher.request launcher.rundir launcher.submit launcher.watch",
    "launcher.submit": "launcher.batch_options launcher.batch_script launcher.config "
    "launcher.follow_job launcher.index launcher.request launcher.rundir launcher.slurm_jobs "
    "launcher.slurmctl",
    "launcher.follow_job": "launcher.job_end launcher.output launcher.rundir "
    "launcher.slurm_jobs launcher.slurm_words launcher.slurmctl launcher.tail launcher.watch",
    "launcher.watch": "launcher.output launcher.slurm_jobs launcher.slurmctl",
    "launcher.tail": "",
    "launcher.look": "launcher.cargo launcher.request launcher.plan launcher.fleet launcher.link "
    "launcher.gpus launcher.output launcher.placement launcher.preflight launcher.rendezvous",
    # the story
    "launcher.controller": "launcher.plan launcher.fleet launcher.follow launcher.history "
    "launcher.output launcher.policy launcher.preflight launcher.rendezvous launcher.rundir "
    "launcher.verdict",
    "launcher.plan": "launcher.fleet launcher.nodelist launcher.output launcher.placement "
    "launcher.preflight launcher.resources",
    "launcher.follow": "launcher.fleet launcher.link launcher.output launcher.policy "
    "launcher.rundir launcher.verdict",
    "launcher.requeue": "launcher.link launcher.output launcher.policy launcher.slurm_jobs "
    "launcher.slurmctl",
    "launcher.resources": "launcher.cargo launcher.fleet launcher.gpu_choice launcher.gpu_request "
    "launcher.placement",
    "launcher.fleet": "launcher.cargo launcher.channel launcher.link launcher.output",
    "launcher.link": "launcher.channel launcher.clusters launcher.frames",
    "launcher.cargo": "",
    # which cluster, which nodes
    "launcher.discovery": "launcher.allocation launcher.config launcher.config_error "
    "launcher.clusters launcher.nodelist",
    "launcher.config": "launcher.clusters launcher.config_error launcher.nodelist "
    "launcher.yaml_tree",
    "launcher.clusters": "launcher.allocation launcher.channel launcher.frames launcher.nodelist",
    "launcher.allocation": "launcher.config_error launcher.nodelist",
    "launcher.clusters.base": "launcher.job",
    # pure decisions
    "launcher.job_end": "launcher.slurm_jobs",
    "launcher.slurm_words": "",
    "launcher.batch_script": "launcher.batch_options launcher.request",
    "launcher.batch_options": "launcher.config launcher.request",
    "launcher.gpu_choice": "launcher.gpu_request launcher.gpus launcher.nodelist",
    "launcher.gpu_request": "launcher.nodelist",
    "launcher.placement": "",
    "launcher.policy": "",
    "launcher.preflight": "launcher.nodelist",
    "launcher.rendezvous": "",
    "launcher.verdict": "",
    "launcher.nodelist": "",
    # the batch system
    "launcher.slurmctl": "launcher.slurm_jobs",
    "launcher.slurm_jobs": "",
    # what goes out
    "launcher.output": "launcher.clusters.base",
    "launcher.rundir": "launcher.history",
    "launcher.history": "",
    "launcher.index": "",
    # what travels to the nodes
    "launcher.agent": "launcher.frames launcher.gpu_probe launcher.gpu_lease",
    "launcher.gpus": "launcher.gpu_probe",
    "launcher.gpu_probe": "launcher.gpu_lease",
    "launcher.gpu_lease": "",
    "launcher.channel": "launcher.frames",
    "launcher.frames": "",
    # data
    "launcher.job": "",
    "launcher.report": "",
    "launcher.yaml_tree": "launcher.config_error",
    "launcher.config_error": "",
    # the engine: the door
    "engine": "engine.trainer engine.lite engine.module engine.datamodule engine.callbacks "
    "engine.callbacks.base engine.loggers engine.metrics engine.profilers engine.seed "
    "engine.tuner engine.wrapped",
    "engine.trainer": "engine.apart engine.checkpointing engine.compiled engine.datamodule "
    "engine.defaults engine.devices engine.folders engine.inner engine.late_dynamo "
    "engine.lifecycle engine.loaders engine.logged engine.loops engine.module "
    "engine.old_view engine.optimizers engine.options engine.precision "
    "engine.preemption engine.profiling engine.results engine.run engine.rundir "
    "engine.seed engine.shell engine.signals engine.state engine.strategies engine.switches "
    "engine.training engine.tuner engine.weights",
    "engine.core": "engine.datamodule engine.module",
    "engine.apart": "engine.children engine.defaults engine.devices engine.lifecycle "
    "engine.loggers.base engine.preemption engine.signals",
    "engine.training": "engine.lifecycle engine.loaders engine.loops engine.module "
    "engine.optimizers engine.preemption engine.resume engine.run engine.rundir engine.seed "
    "engine.view engine.weights",
    "engine.defaults": "engine.options engine.callbacks engine.callbacks.base engine.loggers "
    "engine.loggers.base",
    "engine.folders": "engine.defaults engine.rundir",
    "engine.lifecycle": "engine.hooks engine.loggers.base engine.run",
    "engine.loaders": "engine.combined engine.data engine.datamodule engine.hooks engine.loops "
    "engine.run engine.state",
    "engine.results": "engine.reports",
    "engine.checkpointing": "engine.checkpoint engine.reports engine.resume engine.rollcall "
    "engine.run engine.rundir engine.weights",
    "engine.weights": "engine.checkpoint engine.rundir",
    "engine.old_view": "engine.accelerators engine.callbacks engine.connectors engine.logged "
    "engine.optimizers engine.options engine.precision engine.resume engine.run engine.signals "
    "engine.view",
    "engine.connectors": "",
    "engine.view": "engine.callbacks engine.fit_loop engine.logged engine.optimizers "
    "engine.options engine.profilers engine.state engine.strategies",
    # the algorithm
    "engine.loops": "engine.old_module engine.run engine.combined engine.data engine.entries "
    "engine.every engine.hooks engine.lengths engine.logged engine.optimizers engine.reports "
    "engine.seed engine.signals engine.state engine.stray",
    "engine.run": "engine.combined engine.data engine.datamodule engine.dealt engine.hooks "
    "engine.logged engine.optimizers "
    "engine.precision engine.signals engine.state engine.strategies engine.workers",
    "engine.resume": "engine.checkpoint engine.compiled engine.hooks engine.optimizers engine.run "
    "engine.seed engine.state",
    "engine.preemption": "engine.agreement engine.callbacks engine.logged engine.results "
    "engine.rollcall engine.run engine.rundir engine.signals",
    "engine.tuner": "engine.callbacks.base engine.datamodule engine.devices engine.lifecycle "
    "engine.loggers engine.loops engine.optimizers engine.preemption engine.rundir engine.seed "
    "engine.signals engine.strategies",
    # user code's side
    "engine.module_hooks": "",
    "engine.module_exports": "engine.data engine.module_hooks",
    "engine.old_module": "engine.callbacks engine.gradients engine.module_exports",
    "engine.gather": "engine.apply",
    "engine.module": "engine.data engine.datamodule engine.from_checkpoint engine.hparams "
    "engine.logged "
    "engine.gather engine.old_module "
    "engine.precision engine.sequences",
    "engine.wrapped": "engine.module",
    "engine.stray": "",
    "engine.switches": "",
    "engine.datamodule": "engine.data engine.from_checkpoint engine.hparams engine.shell",
    "engine.hooks": "engine.callbacks.base",
    # a loop of the user's own
    "engine.lite": "engine.checkpoint engine.data engine.devices engine.lite_parts engine.options "
    "engine.precision engine.seed",
    "engine.lite_parts": "engine.data engine.optimizers engine.precision",
    # old programs
    "engine.compat": "engine engine.accelerators engine.apply engine.callbacks engine.checkpoint "
    "engine.data engine.devices engine.gpus engine.gradients engine.hparams engine.lite_parts "
    "engine.loggers engine.metrics engine.module engine.optimizers engine.options "
    "engine.readings engine.seed engine.slurm_world "
    "engine.strategies engine.tuner",
    # families
    "engine.callbacks": "engine.callbacks.base engine.durations engine.every engine.gpus "
    "engine.gradients engine.lazy engine.rollcall",
    "engine.callbacks.base": "",
    "engine.loggers": "engine.lazy engine.loggers.base",
    "engine.loggers.base": "",
    "engine.metrics": "",
    "engine.profilers": "engine.lazy",
    "engine.lazy": "",
    "engine.profiling": "engine.hooks engine.profilers engine.run",
    "engine.strategies": "engine.gather",
    "engine.accelerators": "",
    "engine.devices": "engine.gpus engine.starting engine.strategies",
    "engine.starting": "engine.signals",
    "engine.children": "engine.loggers.base engine.optimizers engine.seed engine.signals "
    "engine.starting",
    # small rooms
    "engine.apply": "engine.data",
    "engine.gradients": "",
    "engine.inner": "engine.logged",
    "engine.checkpoint": "engine.hparams engine.rundir",
    "engine.combined": "engine.data engine.seed",
    "engine.lengths": "engine.combined engine.data",
    "engine.data": "engine.dealt engine.division engine.seed",
    "engine.dealt": "engine.division engine.seed",
    "engine.division": "",
    "engine.logged": "engine.entries",
    "engine.entries": "engine.samples",
    "engine.from_checkpoint": "engine.checkpoint engine.compiled engine.hparams "
    "engine.init_arguments",
    "engine.init_arguments": "",
    "engine.samples": "",
    "engine.hparams": "engine.init_arguments",
    "engine.optimizers": "",
    "engine.options": "engine.accelerators engine.durations engine.precision engine.readings "
    "engine.shell",
    "engine.durations": "",
    "engine.every": "",
    "engine.gpus": "",
    "engine.shell": "engine.readings",
    "engine.readings": "",
    "engine.precision": "",
    "engine.reports": "engine.hparams",
    "engine.rundir": "",
    "engine.agreement": "",
    "engine.rollcall": "",
    "engine.signals": "",
    "engine.compiled": "",
    "engine.fit_loop": "",
    "engine.workers": "engine.signals",
    "engine.seed": "",
    "engine.sequences": "engine.data",
    "engine.late_dynamo": "",
    "engine.state": "",
    # words
    "engine.settings": "",
    "engine.distributed": "engine.slurm_world",
    "engine.slurm_world": "",
    "engine.errors": "",
    "engine.torch_parts": "",
    "engine.compat_flags": "",
}
FOLDERS = (
    "launcher.agent",
    "launcher.clusters",
    "engine.callbacks",
    "engine.children",
    "engine.compat",
    "engine.loggers",
    "engine.loops",
    "engine.metrics",
    "engine.options",
    "engine.profilers",
    "engine.strategies",
    "engine.tuner",
)

HEAVY = {"torch", "numpy", "yaml", "paramiko", "rich", "ray", "psutil", "cloudpickle", "pynvml"}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("launcher", "engine")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported(module: str, *, inside_functions: bool = True) -> set[str]:
    """The modules that a module imports, ours and others', but not for type checkers only."""

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}: imports are absolute"
                names = [f"{child.module}.{alias.name}" for alias in child.names]
                yield from (n if n in MODULES else str(child.module) for n in names)
            yield from visit(child)

    return set(visit(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


def room(module: str) -> str:
    """The room that a module of ours is in."""
    if module in DRAWING:
        return module
    return next((folder for folder in FOLDERS if module.startswith(folder + ".")), module)


def top(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def allowed(name: str) -> set[str]:
    words = LAUNCHER_WORDS if top(name) == "launcher" else ENGINE_WORDS
    # the words themselves use no other words than the drawing says
    return {name, *DRAWING[name].split(), *(() if name in words.split() else words.split())}


def in_a_fresh_process(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def rooms_of(names: Iterable[str]) -> set[str]:
    return {room(name) for name in names if name in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_as_drawn(module: str) -> None:
    """Each module imports only what its room may."""
    assert room(module) in DRAWING, f"{module} is in no room: draw it"
    assert rooms_of(imported(module)) <= allowed(room(module))


def test_the_drawing_shows_what_there_is() -> None:
    """No room of the drawing is empty, and no arrow points to a room that isn't drawn."""
    assert {room(module) for module in MODULES} == set(DRAWING)
    assert {target for name in DRAWING for target in DRAWING[name].split()} <= set(DRAWING)


def test_the_drawing_has_no_cycle() -> None:
    """Arrows point one way, through words and folders, too."""
    TopologicalSorter({name: {t for t in allowed(name) if t != name} for name in DRAWING}).prepare()


def test_no_file_is_long() -> None:
    """What one reads at a time fits into 400 lines."""
    folders = ("launcher", "engine", "tests", "benchmarks", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    long = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}

    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_modules_import_each_other() -> None:
    """Within a folder as well: no cycle of module-level imports, between any two files."""
    graph = {}
    for module in MODULES:
        found = imported(module, inside_functions=False) & set(MODULES)
        graph[module] = found - {module}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(("package", "other"), [("launcher", "engine"), ("engine", "launcher")])
def test_the_two_packages_do_not_know_each_other(package: str, other: str) -> None:
    """Between them are environment variables and a socket, nothing else."""
    guilty = [m for m in MODULES if top(m) == package and other in map(top, imported(m))]

    assert guilty == []


@pytest.mark.parametrize("module", ["launcher", "launcher.cli", "launcher.report"])
def test_the_doors_are_light(module: str) -> None:
    """`plaunch --help`, and a rank that reports, wait for none of the heavy libraries."""
    loaded = in_a_fresh_process(f"import sys, {module}; print(*sys.modules)")

    assert HEAVY & set(loaded) == set()


@pytest.mark.parametrize("module", SOURCES)
def test_what_travels_to_a_node_needs_only_the_standard_library(module: str) -> None:
    """The agent's files import each other and the standard library; the rest is asked for late."""
    at_once = imported(module, inside_functions=False)
    foreign = {name for name in at_once if top(name) not in sys.stdlib_module_names}
    ours = {name for name in imported(module) if top(name) in ("launcher", "engine")}

    assert {name for name in foreign if top(name) != "launcher"} == set()
    assert ours <= {*SOURCES, "launcher.agent"}


def test_all_of_the_agent_travels() -> None:
    """A file of the agent that is forgotten would be missing on the nodes only."""
    assert {m for m in MODULES if m.startswith("launcher.agent.")} <= set(SOURCES)


@pytest.mark.parametrize("base", [name for name in DRAWING if name.endswith(".base")])
def test_a_familys_base_knows_none_of_the_family(base: str) -> None:
    """A member is added without touching the base."""
    family = base.removesuffix("base")

    assert [name for name in imported(base) if name.startswith(family)] == []


def test_both_packages_say_that_they_are_typed() -> None:
    """py.typed lies in each, and in what is installed."""
    assert all((ROOT / package / "py.typed").exists() for package in ("launcher", "engine"))
    listed = (ROOT / "pyproject.toml").read_text()
    folders = {module for module in MODULES if MODULES[module].name == "__init__.py"}

    assert {folder for folder in folders if f'"{folder}"' not in listed} == set()
