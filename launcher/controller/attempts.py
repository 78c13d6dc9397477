"""A run from top to bottom: probe, place, start, follow, judge, restart, result.

The order of things is here; each decision is elsewhere (placing, monitor, verdict, policy).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from launcher.controller import policy, rendezvous, verdict
from launcher.controller.agents.fleet import Fleet, Interrupted
from launcher.controller.agents.stdin import RankStdin
from launcher.controller.monitor import phases
from launcher.controller.monitor.monitor import AttemptMonitor
from launcher.controller.monitor.state import AttemptState
from launcher.controller.placing import preflight
from launcher.controller.placing.plan import Plan, prepare, revive
from launcher.controller.system import THIS_PROCESS, System
from launcher.core.console.console import Output
from launcher.core.errors import ClusterError, NodeError, PlacementError
from launcher.core.exit_codes import TIMED_OUT
from launcher.core.job import Job, Node, RankResult, Result, State, Verdict
from launcher.rundir.events import preemptions
from launcher.rundir.rundir import RunDir

if TYPE_CHECKING:
    from launcher.core.protocol import messages
TERMINAL_CLOSED = "the terminal was closed"  # what SIGHUP means


def run(
    job: Job,
    nodes: Sequence[Node],
    fleet: Fleet,
    rundir: RunDir,
    output: Output,
    started: float,
) -> Result:
    """Run a job to its end on ``nodes``, whose agents have been begun; ``started`` is monotonic.

    Raises ClusterError, PlacementError and RunDirError before any rank is started.
    """
    try:
        plan = prepare(job, nodes, fleet, output)
        return _attempts(job, plan, fleet, rundir, output, started)
    except Interrupted as interruption:
        return cancelled_early(job, interruption.number, rundir, started, fleet.system)


def _attempts(
    job: Job, plan: Plan, fleet: Fleet, rundir: RunDir, output: Output, started: float
) -> Result:
    """Attempt after attempt, until one succeeds or the policy says stop."""
    deadline = None if job.timeout_s is None else started + job.timeout_s
    history: list[policy.Attempt] = []  # this launcher's; the run's folder has those of all
    result: Result | None = None
    fd = None if fleet.inherited_stdin is not None else fleet.system.stdin()
    stdin = None if fd is None else RankStdin(fleet, fd)
    while True:
        rundir.start()
        attempt = len(rundir.history) + 1
        output.name_ranks(
            {p.first_rank + i: p.node.name for p in plan.places for i in range(p.num_ranks)}
        )
        try:
            start(job, plan, fleet, attempt, len(history), output)
        except ClusterError as error:
            if result is None:
                raise
            output.error(f"can't go on: {error}")  # the result is that of the attempt before
            return result
        rundir.event("attempt", attempt=attempt, world_size=plan.world_size)
        if plan.world_size == 1 and stdin is not None:
            stdin.attach(plan.places[0].node.name)
        state = AttemptMonitor(
            job, fleet, plan.places, attempt, output, rundir, deadline, stdin
        ).follow()
        seconds = round(fleet.system.monotonic() - started, 3)
        result = remember(conclude(job, plan, state, seconds), state, rundir)
        if result.verdict is None:
            alone = phases.were_independent(state.phases, plan.world_size)
            if alone and result.state == "succeeded" and job.program.kind != "program":
                output.say(alone)
            return result
        history.append(policy.Attempt(result.verdict, state.checkpoint))
        if state.timed_out or state.signalled_too_late:
            return result
        decision = policy.after_failure(history, job.max_restarts)
        next_plan = _next_plan(decision, job, plan, fleet, output)
        if next_plan is None:
            return result
        output.verdict(result.verdict)
        output.error(decision.reason)
        plan = next_plan


def _next_plan(
    decision: policy.Decision, job: Job, plan: Plan, fleet: Fleet, output: Output
) -> Plan | None:
    """Where the next attempt runs; None, and why is said, if there is to be none."""
    try:
        next_plan = revive(job, plan, fleet, output) if decision.restart else None
    except (ClusterError, PlacementError) as error:
        output.error(f"can't go on: {error}")
        return None
    if next_plan is None and decision.reason:
        output.error(decision.reason)
    return next_plan


def start(job: Job, plan: Plan, fleet: Fleet, attempt: int, restarts: int, output: Output) -> None:
    """Open the attempt's store and tell every agent to start its ranks.

    The ranks see the restarts of this launcher, as under torchrun, where --max-restarts limits
    them; attempts are counted over the life of the run's folder.
    """
    opened, interfaces = open_rendezvous(job, plan, fleet, restarts + 1)
    output.detail(f"rendezvous at {opened.address}:{opened.port}")
    for place in plan.places:
        cores = plan.facts[place.node.name].cores
        sharing = sum(other.node.address == place.node.address for other in plan.places)
        defaults = rendezvous.default_env(place, cores // sharing, interfaces.get(place.node.name))
        ranks: list[messages.RankOrder] = [
            {
                "rank": place.first_rank + local_rank,
                "local_rank": local_rank,
                "env": rendezvous.rank_env(opened, place, local_rank, hide_gpus=job.gpus == "0"),
            }
            for local_rank in range(place.num_ranks)
        ]
        order: messages.Start = {
            "type": "start",
            "attempt": attempt,
            "world_size": plan.world_size,
            "ranks": ranks,
            "defaults": defaults,
        }
        fleet.tell(order, [place.node.name])


def open_rendezvous(
    job: Job, plan: Plan, fleet: Fleet, attempt: int
) -> tuple[rendezvous.Rendezvous, dict[str, str | None]]:
    """Bind the store at an address that the other nodes have been seen to reach.

    Returns the rendezvous and every node's network interface on the way there. Raises ClusterError.
    """
    first = plan.places[0].node.name
    others = [place.node.name for place in plan.places[1:]]
    failures: list[NodeError] = []
    for address in preflight.master_addresses(plan.facts[first], len(plan.places)):
        # What the other nodes say to the store's door, which then knows their addresses.
        word = f"plaunch {os.urandom(16).hex()}" if others else None
        order: messages.OpenStore = {
            "type": "store", "address": address, "hosted": plan.world_size > 1, "word": word,
        }  # fmt: skip
        answer = fleet.ask({first: order}, ["store"])[first].get("store")
        if answer is None or answer["port"] is None:
            problem = "it is lost" if answer is None else f"{address}: {answer['problem']}"
            failures.append(NodeError(first, f"can't open the rendezvous store: {problem}"))
            continue
        reach: messages.Reach = {
            "type": "reach",
            "address": address,
            "port": answer["port"],
            "word": word,
        }
        reached = fleet.ask(dict.fromkeys(others, reach), ["reached"])
        bad = [
            NodeError(name, f"can't reach {first} at {address}: {got['reached']['problem']}")
            for name, got in reached.items()
            if got.get("reached", {"problem": "no answer"})["problem"]
        ]
        if not bad:
            interfaces = {name: got["reached"]["interface"] for name, got in reached.items()}
            interfaces[first] = answer["interface"]
            opened = rendezvous.Rendezvous(
                address,
                answer["port"],
                attempt,
                plan.world_size,
                len(plan.places),
                job.id,
                job.run_dir,
                job.max_restarts,
            )
            return opened, interfaces
        failures += bad
    raise ClusterError(failures or [NodeError(first, "it has no network address")])


def conclude(job: Job, plan: Plan, state: AttemptState, seconds: float) -> Result:
    """The result of an attempt, ``seconds`` after the run's start. Pure."""
    judged: Verdict | None = None
    if state.timed_out:
        first = state.records[min(state.records)]
        message = f"the run took longer than its --timeout of {job.timeout_s:g} s"
        judged = Verdict(
            "hang", None, first.node, TIMED_OUT, message=message, attempt=state.attempt
        )
    elif state.asked_to_end is None:
        if not state.lost and all(code == policy.PREEMPTED for code in state.exit_codes):
            return _result(job, plan, state, "preempted", policy.PREEMPTED, None, seconds)
        records = list(state.records.values())
        judged = verdict.judge(records, state.lost, state.attempt)
        if judged is None:  # never a success while a rank has not ended with 0
            judged = verdict.unexplained(records, state.attempt)
    else:
        number = state.asked_to_end
        preempted = number != signal.SIGINT and all(
            code == policy.PREEMPTED for code in state.exit_codes
        )
        if preempted:
            return _result(job, plan, state, "preempted", policy.PREEMPTED, None, seconds)
        return _result(job, plan, state, "cancelled", 128 + number, None, seconds)
    outcome: State = "succeeded" if judged is None else "failed"
    code = 0 if judged is None else judged.exit_code
    return _result(job, plan, state, outcome, code, judged, seconds)


def _result(
    job: Job,
    plan: Plan,
    state: AttemptState,
    outcome: State,
    code: int,
    judged: Verdict | None,
    seconds: float,
) -> Result:
    ranks = []
    for place in plan.places:
        for local_rank in range(place.num_ranks):
            rank = place.first_rank + local_rank
            status = state.records[rank].status
            shown = 128 - status if status is not None and status < 0 else status
            value, metrics = state.values.get(rank), state.metrics.get(rank)
            one = RankResult(rank, local_rank, place.node.name, shown, value, metrics)
            ranks.append(one)
    nodes = tuple(
        {"name": p.node.name, "address": p.node.address, "gpus": list(p.gpus)} for p in plan.places
    )
    return Result(
        job_id=job.id,
        state=outcome,
        exit_code=code,
        attempts=state.attempt,
        preemptions=int(outcome == "preempted"),
        world_size=plan.world_size,
        seconds=seconds,
        nodes=nodes,
        ranks=tuple(ranks),
        verdict=judged,
        run_dir=job.run_dir,
        message=remarks(state),
    )


def remarks(state: AttemptState) -> str:
    """What a person should know beside the state."""
    if state.asked_to_end == signal.SIGHUP:
        return TERMINAL_CLOSED
    odd = [(rank, text) for (rank, _), text in state.not_finite.items() if text]
    if not odd:
        return ""
    rank, text = min(odd)
    return text if rank == 0 else f"rank {rank}: {text}"


def remember(result: Result, state: AttemptState, rundir: RunDir) -> Result:
    """Write down how the attempt ended; the result, with the attempts of all launchers in it."""
    judged = result.verdict
    steps = [record.step for record in state.records.values() if record.step is not None]
    details: dict[str, Any] = {"attempt": state.attempt, "step": max(steps, default=None)}
    if judged is not None:
        details |= {"kind": judged.kind, "rank": judged.rank, "node": judged.node}
    rundir.event(result.state, **details)
    past = rundir.history
    return replace(result, attempts=len(past), preemptions=preemptions(past), history=past[:-1])


def cancelled_early(
    job: Job, number: int, rundir: RunDir, started: float, system: System = THIS_PROCESS
) -> Result:
    """The result when a signal came before there were ranks."""
    seconds = round(system.monotonic() - started, 3)
    past = rundir.history
    message = TERMINAL_CLOSED if number == signal.SIGHUP else ""
    return Result(
        job.id, "cancelled", 128 + number, len(past), preemptions(past), 0, seconds, (), (), None,
        job.run_dir, past, message,
    )  # fmt: skip


def broken(job: Job, error: Exception, rundir: RunDir, started: float) -> Result:
    """The result when the launcher itself has failed: the run's folder tells of it all the same."""
    seconds = round(THIS_PROCESS.monotonic() - started, 3)
    past = rundir.history
    where = os.uname().nodename
    message = f"the launcher itself failed: {type(error).__name__}"
    judged = Verdict("lost_node", None, where, 1, attempt=max(1, len(past)), message=message)
    rundir.event("failed", kind=judged.kind, rank=None, node=where)
    return Result(
        job.id, "failed", 1, len(past), preemptions(past), 0, seconds, (), (), judged,
        job.run_dir, past[:-1],
    )  # fmt: skip
