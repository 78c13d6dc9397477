"""The drawing of the house: which module may import which; tests/test_architecture.py holds it."""

from __future__ import annotations

# Data and small words that any room of the same package may use.
LAUNCHER_WORDS = "launcher.job launcher.clusters.base"
ENGINE_WORDS = (
    "engine.errors engine.settings engine.distributed engine.slurm_world engine.torch_parts "
    "engine.compat_flags engine.files engine.gloo_threads engine.letters engine.plain_data"
)

DRAWING = {
    # doors
    "launcher": "launcher.api launcher.handle launcher.report",
    "launcher.__main__": "launcher.cli",
    "launcher.cli": "launcher.request launcher.run launcher.look launcher.output "
    "launcher.job_words",
    "launcher.api": "launcher.handle launcher.output launcher.queued launcher.request launcher.run",
    "launcher.handle": "launcher.job_status launcher.link launcher.output launcher.queued "
    "launcher.run launcher.slurmctl",
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
    "engine.strategies engine.tuner engine.yaml_data",
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
    "engine.door": "",
    "engine.children": "engine.loggers.base engine.optimizers engine.seed engine.signals "
    "engine.starting",
    # small rooms
    "engine.apply": "engine.data",
    "engine.gradients": "",
    "engine.inner": "engine.logged",
    "engine.checkpoint": "engine.archive engine.hparams engine.rehearsal engine.rundir",
    "engine.archive": "",
    "engine.rehearsal": "",
    "engine.yaml_data": "engine.rehearsal",
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
    "engine.distributed": "engine.gloo_threads engine.letters engine.slurm_world "
    "engine.torch_parts",
    "engine.letters": "engine.plain_data",
    "engine.plain_data": "",
    "engine.files": "",
    "engine.gloo_threads": "",
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
