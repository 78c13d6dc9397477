"""The drawing of the house: which module may import which; tests/test_architecture.py holds it."""

from __future__ import annotations

# Data and small words that any room of the same package may use.
LAUNCHER_WORDS = "launcher.core.job launcher.clusters.base launcher.core.console.terminal"
ENGINE_WORDS = (
    "engine.errors engine.settings engine.distributed engine.slurm_world engine.torch_parts "
    "engine.compat_flags engine.files engine.gloo_threads engine.letters engine.plain_data"
)

DRAWING = {
    # doors
    "launcher": "",
    "launcher.__main__": "launcher.cli.command",
    "launcher.cli.command": "launcher.cli.foreign_options launcher.cli.jobs launcher.core.limits launcher.cli.nodes "
    "launcher.core.console.console launcher.request.request launcher.controller.run",
    "launcher.api": "launcher.batch.handle launcher.core.console.console launcher.batch.run launcher.request.request launcher.controller.run",
    "launcher.batch.handle": "launcher.batch.states launcher.controller.agents.link launcher.core.console.console launcher.batch.run "
    "launcher.controller.run launcher.clusters.slurm.client",
    # words to calls
    "launcher.controller.run": "launcher.request.resume_command launcher.controller.attempts launcher.controller.agents.fleet launcher.rundir.index "
    "launcher.batch.outcome launcher.core.limits launcher.controller.agents.link launcher.cli.nodes launcher.core.console.console "
    "launcher.controller.placing.placement launcher.batch.run launcher.request.request launcher.controller.requeue launcher.rundir.rundir "
    "launcher.clusters.slurm.client",
    "launcher.request.request": "launcher.clusters launcher.core.errors launcher.request.discovery "
    "launcher.core.gpu_spec launcher.clusters.ray.request launcher.rundir.rundir",
    "launcher.clusters.ray.request": "launcher.clusters launcher.core.errors launcher.core.gpu_spec",
    # jobs, from outside
    "launcher.cli.jobs": "launcher.cli.cancel launcher.cli.logs launcher.core.console.console launcher.cli.prune "
    "launcher.request.request launcher.clusters.slurm.client launcher.cli.status",
    "launcher.cli.status": "launcher.rundir.index launcher.batch.outcome launcher.batch.states launcher.core.console.console "
    "launcher.rundir.snapshot",
    "launcher.cli.logs": "launcher.rundir.files launcher.rundir.index launcher.core.console.interleave launcher.batch.states "
    "launcher.core.console.console launcher.request.request launcher.rundir.snapshot launcher.rundir.tail",
    "launcher.cli.cancel": "launcher.rundir.index launcher.batch.states launcher.core.console.console launcher.rundir.snapshot "
    "launcher.clusters.slurm.jobs launcher.clusters.slurm.client",
    "launcher.batch.states": "launcher.rundir.events launcher.rundir.index launcher.batch.outcome launcher.core.console.console "
    "launcher.rundir.records launcher.request.request launcher.rundir.snapshot launcher.clusters.slurm.jobs "
    "launcher.clusters.slurm.reasons launcher.clusters.slurm.client",
    "launcher.rundir.snapshot": "launcher.rundir.events launcher.rundir.records",
    # through a queue
    "launcher.batch.run": "launcher.request.resume_command launcher.batch.script launcher.rundir.files launcher.batch.follow "
    "launcher.batch.outcome launcher.core.console.console launcher.request.request launcher.rundir.rundir launcher.clusters.slurm.reasons "
    "launcher.clusters.slurm.client launcher.batch.submit launcher.batch.poll",
    "launcher.batch.submit": "launcher.batch.options launcher.batch.script launcher.request.cluster_file "
    "launcher.batch.follow launcher.rundir.index launcher.request.request launcher.rundir.rundir launcher.batch.environ "
    "launcher.clusters.slurm.jobs launcher.clusters.slurm.reasons launcher.clusters.slurm.client",
    "launcher.batch.follow": "launcher.batch.outcome launcher.core.console.console launcher.rundir.records launcher.clusters.slurm.jobs "
    "launcher.clusters.slurm.reasons launcher.clusters.slurm.client launcher.rundir.tail launcher.batch.poll",
    "launcher.batch.poll": "launcher.core.console.console launcher.clusters.slurm.jobs launcher.clusters.slurm.client",
    "launcher.rundir.tail": "launcher.rundir.files",
    "launcher.cli.nodes": "launcher.controller.agents.bundle launcher.controller.agents.fleet launcher.controller.placing.gpus launcher.core.limits launcher.controller.agents.link "
    "launcher.core.console.console launcher.controller.placing.placement launcher.controller.placing.plan launcher.controller.placing.preflight launcher.controller.rendezvous "
    "launcher.request.request launcher.rundir.rundir",
    # the story
    "launcher.controller.attempts": "launcher.controller.agents.fleet launcher.controller.monitor launcher.rundir.events launcher.core.console.console "
    "launcher.controller.phases launcher.controller.placing.placement launcher.controller.placing.plan launcher.controller.policy launcher.controller.placing.preflight "
    "launcher.controller.agents.stdin launcher.controller.rendezvous launcher.rundir.rundir launcher.controller.verdict",
    "launcher.controller.placing.plan": "launcher.controller.agents.fleet launcher.core.limits launcher.core.nodelist launcher.core.console.console "
    "launcher.controller.placing.placement launcher.controller.placing.preflight launcher.controller.placing.gpu_leases",
    "launcher.controller.monitor": "launcher.controller.agents.fleet launcher.controller.agents.link launcher.core.console.console launcher.controller.phases "
    "launcher.controller.policy launcher.controller.agents.stdin launcher.rundir.rundir launcher.core.console.traces launcher.controller.verdict",
    "launcher.controller.requeue": "launcher.controller.agents.link launcher.core.console.console launcher.controller.policy launcher.clusters.slurm.jobs "
    "launcher.clusters.slurm.client",
    "launcher.controller.placing.gpu_leases": "launcher.controller.agents.bundle launcher.controller.agents.fleet launcher.controller.placing.gpu_choice launcher.core.gpu_spec "
    "launcher.controller.placing.placement",
    "launcher.controller.agents.fleet": "launcher.agent launcher.controller.agents.bundle launcher.core.protocol.channel launcher.core.limits "
    "launcher.controller.agents.link launcher.core.nodelist launcher.core.console.console",
    "launcher.controller.agents.link": "launcher.core.protocol.channel launcher.clusters launcher.core.deadline launcher.core.protocol.frames "
    "launcher.core.protocol.messages",
    "launcher.controller.agents.bundle": "",
    # which cluster, which nodes
    "launcher.request.discovery": "launcher.clusters.slurm.allocation launcher.clusters launcher.request.cluster_file "
    "launcher.core.errors launcher.core.nodelist",
    "launcher.request.cluster_file": "launcher.clusters launcher.core.errors launcher.core.nodelist "
    "launcher.request.yaml_tree",
    "launcher.clusters": "launcher.clusters.slurm.allocation launcher.core.protocol.channel launcher.core.deadline launcher.core.limits "
    "launcher.core.nodelist launcher.core.protocol.seal",
    "launcher.clusters.slurm.allocation": "launcher.core.errors launcher.core.nodelist",
    "launcher.clusters.base": "launcher.core.job launcher.core.console.terminal",
    # pure decisions
    "launcher.batch.outcome": "launcher.clusters.slurm.jobs",
    "launcher.clusters.slurm.reasons": "launcher.clusters.slurm.jobs",
    "launcher.batch.script": "launcher.batch.options launcher.request.request",
    "launcher.batch.options": "launcher.request.request",
    "launcher.controller.placing.gpu_choice": "launcher.core.gpu_spec launcher.controller.placing.gpus launcher.core.nodelist",
    "launcher.core.gpu_spec": "launcher.core.nodelist",
    "launcher.controller.placing.placement": "",
    "launcher.controller.policy": "",
    "launcher.controller.placing.preflight": "launcher.core.nodelist",
    "launcher.controller.rendezvous": "",
    "launcher.controller.verdict": "",
    "launcher.core.nodelist": "",
    # the batch system
    "launcher.clusters.slurm.client": "launcher.clusters.slurm.jobs",
    "launcher.clusters.slurm.jobs": "",
    # what goes out
    "launcher.core.console.console": "launcher.core.console.interleave launcher.core.console.traces",
    "launcher.rundir.rundir": "launcher.rundir.files launcher.rundir.events launcher.rundir.records",
    "launcher.rundir.records": "launcher.rundir.files launcher.rundir.events launcher.core.protocol.shapes",
    "launcher.rundir.events": "launcher.rundir.files",
    "launcher.rundir.index": "launcher.rundir.files",
    "launcher.rundir.files": "launcher.core.regular",
    # what travels to the nodes
    "launcher.agent": "launcher.core.protocol.frames launcher.agent.node.gpu_lease launcher.agent.node.gpu_probe launcher.core.protocol.messages "
    "launcher.core.regular launcher.core.protocol.seal",
    "launcher.core.protocol.seal": "launcher.core.protocol.frames",
    "launcher.core.protocol.messages": "launcher.core.protocol.frames launcher.core.protocol.shapes",
    "launcher.core.protocol.shapes": "",
    "launcher.controller.placing.gpus": "launcher.agent.node.gpu_probe",
    "launcher.agent.node.gpu_probe": "launcher.agent.node.gpu_lease",
    "launcher.agent.node.gpu_lease": "",
    "launcher.core.protocol.channel": "launcher.core.protocol.frames",
    "launcher.core.protocol.frames": "",
    # data
    "launcher.core.job": "",
    "launcher.report": "",
    "launcher.request.yaml_tree": "launcher.core.errors",
    "launcher.core.errors": "",
    "launcher.core.console.interleave": "",
    "launcher.controller.phases": "launcher.core.console.console",
    "launcher.controller.agents.stdin": "launcher.controller.agents.fleet",
    "launcher.core.regular": "",
    "launcher.request.resume_command": "launcher.request.request",
    "launcher.cli.foreign_options": "",
    "launcher.cli.prune": "launcher.rundir.index launcher.batch.states launcher.core.console.console launcher.rundir.records "
    "launcher.rundir.snapshot",
    "launcher.core.console.terminal": "",
    "launcher.core.console.traces": "",
    "launcher.core.deadline": "",
    "launcher.core.limits": "",
    "launcher.batch.environ": "launcher.controller.rendezvous",
    # the engine: the door
    "engine": "",
    "engine.trainer": "engine.apart engine.checkpointing engine.compiled engine.datamodule "
    "engine.defaults engine.devices engine.folders engine.inner engine.late_dynamo "
    "engine.lifecycle engine.loaders engine.logged engine.loops engine.module engine.old_view "
    "engine.optimizers engine.options engine.precision engine.preemption engine.profiling "
    "engine.results engine.run engine.rundir engine.seed engine.shell engine.signals engine.state "
    "engine.strategies engine.switches engine.training engine.tuner engine.weights",
    "engine.core": "engine.datamodule engine.module",
    "engine.apart": "engine.children engine.defaults engine.devices engine.lifecycle "
    "engine.loggers.base engine.preemption engine.signals",
    "engine.training": "engine.lifecycle engine.loaders engine.loops engine.module "
    "engine.optimizers engine.preemption engine.resume engine.run engine.rundir engine.seed "
    "engine.view engine.weights",
    "engine.defaults": "engine.callbacks engine.callbacks.base engine.loggers engine.loggers.base "
    "engine.options",
    "engine.folders": "engine.defaults engine.rundir",
    "engine.lifecycle": "engine.hooks engine.loggers.base engine.reports engine.run",
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
    "engine.loops": "engine.combined engine.data engine.entries engine.every engine.hooks "
    "engine.lengths engine.logged engine.old_module engine.optimizers engine.reports engine.run "
    "engine.seed engine.signals engine.state engine.stray",
    "engine.run": "engine.combined engine.data engine.datamodule engine.dealt engine.hooks "
    "engine.logged engine.optimizers engine.precision engine.signals engine.state "
    "engine.strategies engine.workers",
    "engine.resume": "engine.checkpoint engine.compiled engine.hooks engine.optimizers engine.run "
    "engine.seed",
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
    "engine.module": "engine.data engine.datamodule engine.from_checkpoint engine.gather "
    "engine.hparams engine.logged engine.old_module engine.precision engine.sequences",
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
    "engine.data engine.devices engine.gpus engine.gradients engine.hparams engine.loggers "
    "engine.metrics engine.module engine.optimizers engine.options engine.seed engine.strategies "
    "engine.tuner engine.yaml_data",
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
    "engine.starting": "engine.door engine.signals",
    "engine.children": "engine.loggers.base engine.optimizers engine.seed engine.signals "
    "engine.starting",
    # small rooms
    "engine.apply": "engine.data",
    "engine.gradients": "",
    "engine.inner": "engine.logged",
    "engine.checkpoint": "engine.archive engine.hparams engine.rehearsal",
    "engine.combined": "engine.data engine.seed",
    "engine.lengths": "engine.combined engine.data",
    "engine.data": "engine.dealt engine.division engine.seed",
    "engine.dealt": "engine.division engine.seed",
    "engine.division": "",
    "engine.logged": "engine.entries",
    "engine.entries": "engine.samples",
    "engine.from_checkpoint": "engine.checkpoint engine.compiled engine.hparams "
    "engine.init_arguments engine.yaml_data",
    "engine.init_arguments": "",
    "engine.samples": "",
    "engine.hparams": "engine.init_arguments",
    "engine.optimizers": "",
    "engine.options": "engine.accelerators engine.durations engine.precision engine.shell",
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
    "engine.distributed": "engine.gloo_threads engine.letters engine.slurm_world "
    "engine.torch_parts",
    "engine.gloo_threads": "",
    "engine.slurm_world": "",
    "engine.errors": "",
    "engine.torch_parts": "",
    "engine.compat_flags": "",
    "engine.archive": "",
    "engine.door": "",
    "engine.files": "",
    "engine.letters": "engine.plain_data",
    "engine.plain_data": "",
    "engine.rehearsal": "",
    "engine.yaml_data": "engine.rehearsal",
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
