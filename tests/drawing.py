"""The drawing of the house: which module may import which; tests/test_architecture.py holds it."""

from __future__ import annotations

# Data and small words that any room of the same package may use.
LAUNCHER_WORDS = "launcher.job launcher.clusters.base launcher.terminal"
ENGINE_WORDS = (
    "engine.errors engine.settings engine.distributed engine.slurm_world engine.torch_parts "
    "engine.compat_flags engine.files engine.gloo_threads engine.letters engine.plain_data"
)

DRAWING = {
    # doors
    "launcher": "",
    "launcher.__main__": "launcher.cli",
    "launcher.cli": "launcher.foreign_options launcher.job_words launcher.limits launcher.look "
    "launcher.output launcher.request launcher.run",
    "launcher.api": "launcher.handle launcher.output launcher.queued launcher.request launcher.run",
    "launcher.handle": "launcher.job_status launcher.link launcher.output launcher.queued "
    "launcher.run launcher.slurmctl",
    # words to calls
    "launcher.run": "launcher.again launcher.controller launcher.fleet launcher.index "
    "launcher.job_end launcher.limits launcher.link launcher.look launcher.output "
    "launcher.placement launcher.queued launcher.request launcher.requeue launcher.rundir "
    "launcher.slurmctl",
    "launcher.request": "launcher.clusters launcher.config_error launcher.discovery "
    "launcher.gpu_request launcher.ray_request launcher.rundir",
    "launcher.ray_request": "launcher.clusters launcher.config_error launcher.gpu_request",
    # jobs, from outside
    "launcher.job_words": "launcher.cancel launcher.job_logs launcher.output launcher.prune "
    "launcher.request launcher.slurmctl launcher.status",
    "launcher.status": "launcher.index launcher.job_end launcher.job_status launcher.output "
    "launcher.run_facts",
    "launcher.job_logs": "launcher.files launcher.index launcher.interleave launcher.job_status "
    "launcher.output launcher.request launcher.run_facts launcher.tail",
    "launcher.cancel": "launcher.index launcher.job_status launcher.output launcher.run_facts "
    "launcher.slurm_jobs launcher.slurmctl",
    "launcher.job_status": "launcher.history launcher.index launcher.job_end launcher.output "
    "launcher.records launcher.request launcher.run_facts launcher.slurm_jobs "
    "launcher.slurm_words launcher.slurmctl",
    "launcher.run_facts": "launcher.history launcher.records",
    # through a queue
    "launcher.queued": "launcher.again launcher.batch_script launcher.files launcher.follow_job "
    "launcher.job_end launcher.output launcher.request launcher.rundir launcher.slurm_words "
    "launcher.slurmctl launcher.submit launcher.watch",
    "launcher.submit": "launcher.batch_options launcher.batch_script launcher.config "
    "launcher.follow_job launcher.index launcher.request launcher.rundir launcher.slurm_environ "
    "launcher.slurm_jobs launcher.slurm_words launcher.slurmctl",
    "launcher.follow_job": "launcher.job_end launcher.output launcher.records launcher.slurm_jobs "
    "launcher.slurm_words launcher.slurmctl launcher.tail launcher.watch",
    "launcher.watch": "launcher.output launcher.slurm_jobs launcher.slurmctl",
    "launcher.tail": "launcher.files",
    "launcher.look": "launcher.cargo launcher.fleet launcher.gpus launcher.limits launcher.link "
    "launcher.output launcher.placement launcher.plan launcher.preflight launcher.rendezvous "
    "launcher.request launcher.rundir",
    # the story
    "launcher.controller": "launcher.fleet launcher.follow launcher.history launcher.output "
    "launcher.phases launcher.placement launcher.plan launcher.policy launcher.preflight "
    "launcher.rank_stdin launcher.rendezvous launcher.rundir launcher.verdict",
    "launcher.plan": "launcher.fleet launcher.limits launcher.nodelist launcher.output "
    "launcher.placement launcher.preflight launcher.resources",
    "launcher.follow": "launcher.fleet launcher.link launcher.output launcher.phases "
    "launcher.policy launcher.rank_stdin launcher.rundir launcher.traces launcher.verdict",
    "launcher.requeue": "launcher.link launcher.output launcher.policy launcher.slurm_jobs "
    "launcher.slurmctl",
    "launcher.resources": "launcher.cargo launcher.fleet launcher.gpu_choice launcher.gpu_request "
    "launcher.placement",
    "launcher.fleet": "launcher.agent launcher.cargo launcher.channel launcher.limits "
    "launcher.link launcher.nodelist launcher.output",
    "launcher.link": "launcher.channel launcher.clusters launcher.deadline launcher.frames "
    "launcher.messages",
    "launcher.cargo": "",
    # which cluster, which nodes
    "launcher.discovery": "launcher.allocation launcher.clusters launcher.config "
    "launcher.config_error launcher.nodelist",
    "launcher.config": "launcher.clusters launcher.config_error launcher.nodelist "
    "launcher.yaml_tree",
    "launcher.clusters": "launcher.allocation launcher.channel launcher.deadline launcher.limits "
    "launcher.nodelist launcher.seal",
    "launcher.allocation": "launcher.config_error launcher.nodelist",
    "launcher.clusters.base": "launcher.job launcher.terminal",
    # pure decisions
    "launcher.job_end": "launcher.slurm_jobs",
    "launcher.slurm_words": "launcher.slurm_jobs",
    "launcher.batch_script": "launcher.batch_options launcher.request",
    "launcher.batch_options": "launcher.request",
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
    "launcher.output": "launcher.interleave launcher.traces",
    "launcher.rundir": "launcher.files launcher.history launcher.records",
    "launcher.records": "launcher.files launcher.history launcher.shapes",
    "launcher.history": "launcher.files",
    "launcher.index": "launcher.files",
    "launcher.files": "launcher.regular",
    # what travels to the nodes
    "launcher.agent": "launcher.frames launcher.gpu_lease launcher.gpu_probe launcher.messages "
    "launcher.regular launcher.seal",
    "launcher.seal": "launcher.frames",
    "launcher.messages": "launcher.frames launcher.shapes",
    "launcher.shapes": "",
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
    "launcher.interleave": "",
    "launcher.phases": "launcher.output",
    "launcher.rank_stdin": "launcher.fleet",
    "launcher.regular": "",
    "launcher.again": "launcher.request",
    "launcher.foreign_options": "",
    "launcher.prune": "launcher.index launcher.job_status launcher.output launcher.records "
    "launcher.run_facts",
    "launcher.terminal": "",
    "launcher.traces": "",
    "launcher.deadline": "",
    "launcher.limits": "",
    "launcher.slurm_environ": "launcher.rendezvous",
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
