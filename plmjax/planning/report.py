"""What a config needs of a topology: everything a plan says, as one JSON object and as a table."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from plmjax.experiment import Experiment
from plmjax.parallel.chips import GIB
from plmjax.planning.advice import advice
from plmjax.planning.compiling import Compiled, Job, compile_all
from plmjax.planning.flops import CONVENTION
from plmjax.planning.memory import local_bytes
from plmjax.planning.programs import DECODE, EVALUATION, TRAIN, Program, can_decode
from plmjax.planning.sketch import ASSUMPTION, EFFICIENCY, Choice, Sketch, choice_of, sketch
from plmjax.planning.topology import Topology
from plmjax.planning.traffic import Traffic

COMPILED, ANALYTIC = "compiled", "analytic"
DAY = 24 * 60 * 60


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a user asks beside config and topology.

    decode_rows, decode_length: texts and places of the decode step; 0 for one text for each part
      of the batch, and for the length of the last phase.
    efficiency: the share of the peak that matrix products are taken to reach.
    """

    decode_rows: int = 0
    decode_length: int = 0
    efficiency: float = EFFICIENCY


def programs_of(plan: Experiment, asked: Asked) -> list[Program]:
    """The programs of the run: a train step a phase, evaluation, and a token of decoding.

    Not those of a growing batch: they are the first whole batch's with fewer rows.
    """
    last = len(plan.phases) - 1
    whole = [index for index, phase in enumerate(plan.phases) if phase.growing is None]
    found = [Program(TRAIN, phase) for phase in whole or [last]]
    found.append(Program(EVALUATION, last))
    if can_decode(plan.objective):
        sizes, axes = plan.mesh.shape, dict(plan.settings.sharding.rules)["batch"] or ()
        rows = asked.decode_rows
        if not rows:
            rows = 1
            for axis in axes:
                rows *= sizes[axis]
        length = asked.decode_length or plan.phases[last].data.seq_len
        found.append(Program(DECODE, last, rows, length))
    return found


def report(
    plan: Experiment, topology: Topology, asked: Asked, say: Callable[[str], None]
) -> dict[str, Any]:
    """All that is known of the run: figures by name, sizes in bytes a device, times in seconds.

    Args:
      plan: of `abstract_experiment`.
      topology: its devices. Of TPUs the programs are compiled; of others all is arithmetic.
      asked: what else.
      say: is told what goes on.

    Raises:
      UserError: without a compiler, or where the config is at fault.
    """
    programs = programs_of(plan, asked)
    settings = plan.settings
    compiled: dict[Program, Compiled] = {}
    if topology.is_tpu:
        jobs = [Job(settings, topology, program) for program in programs]
        found = compile_all(jobs, say)
        compiled = dict(zip(programs, found, strict=True))
    choice = choice_of(plan)
    every = [
        _phase(plan, index, sketch(plan, topology, index), choice, asked, compiled)
        for index in range(len(plan.phases))
    ]
    phases = [every[program.phase] for program in programs if program.kind == TRAIN]
    others = {
        program.kind: _compiled_figures(one, topology)
        | ({"batch": [program.rows, program.length]} if program.kind == DECODE else {})
        for program, one in compiled.items()
        if program.kind != TRAIN
    }
    needs = [phase["memory"] for phase in phases] + list(others.values())
    peak = max(each["peak"] for each in needs)
    fits = all(each["fits"] for each in needs)
    result = {
        "topology": topology.name,
        "chip": topology.chip_name,
        "devices": topology.devices,
        "hosts": topology.hosts,
        "slices": topology.slices,
        "mesh": {axis: size for axis, size in choice.mesh.items() if size > 1},
        "model": settings.model["family"],
        "parameters": plan.parameter_count(),
        "dtype": settings.model["dtype"],
        "remat": choice.remat,
        "accumulate": choice.accumulate,
        "source": COMPILED if compiled else ANALYTIC,
        "fits": fits,
        "peak_bytes": peak,
        "memory_bytes": topology.memory,
        "phases": phases,
        **others,
        "ramp": _ramp([one for one in every if one not in phases]),
        "run": _run(every, settings.train.steps, topology, asked),
        "flop_convention": CONVENTION,
        "estimates": ASSUMPTION.format(efficiency=asked.efficiency),
    }
    failures = [(kind, each["failure"]) for kind, each in others.items() if each["failure"]]
    failures += [(one["name"], one["memory"]["failure"]) for one in phases]
    result["failures"] = {name: why for name, why in failures if why}
    result["advice"] = ""
    if not fits and not result["failures"]:
        result["advice"] = _advice(plan, topology, phases)
    return result


def _advice(plan: Experiment, topology: Topology, phases: Sequence[dict]) -> str:
    """How to make it fit."""
    tight = [index for index, one in enumerate(phases) if not one["memory"]["fits"]]
    if not tight:
        return "training fits: give a smaller batch to evaluate, or a smaller --decode_batch"
    worst = max(tight, key=lambda index: phases[index]["memory"]["peak"])
    return advice(plan, topology, worst, phases[worst]["memory"]["peak"])


def _phase(
    plan: Experiment,
    index: int,
    found: Sketch,
    choice: Choice,
    asked: Asked,
    compiled: dict[Program, Compiled],
) -> dict[str, Any]:
    """The figures of a phase's train step."""
    topology, phase = found.topology, plan.phases[index]
    program = compiled.get(Program(TRAIN, index))
    guess = found.needed(choice)
    memory = {
        "parameters": local_bytes(found.parameters, choice.mesh),
        "optimizer": local_bytes(found.optimizer, choice.mesh),
        "batch": found.batch_bytes / found.rows * found.local_rows(choice) * choice.accumulate,
        "analytic_temporary": guess.temporary,
        "analytic_peak": guess.total,
    }
    if program is None:
        memory |= {
            "temporary": guess.temporary,
            "peak": guess.total,
            "fits": guess.total <= topology.memory,
            "failure": "",
        }
    else:
        memory |= _compiled_figures(program, topology)
    traffic = program.traffic if program and program.traffic is not None else None
    estimate = found.estimate(choice, asked.efficiency, traffic)
    hardware = found.hardware_flops(choice)
    peak = topology.chip.flops / topology.chip.devices * topology.devices
    hosts = topology.hosts
    examples = phase.rows.before(phase.last) - phase.rows.before(phase.first)
    return {
        "name": phase.name,
        "steps": phase.last - phase.first,
        "tokens": examples * phase.data.seq_len,
        "batch": [found.rows, found.tokens // found.rows],
        "memory": memory,
        "model_flops": found.flops.model,
        "hardware_flops": hardware,
        "traffic": [_traffic(one, topology) for one in traffic or found.traffic(choice)],
        "traffic_source": ANALYTIC if traffic is None else COMPILED,
        "estimate": {
            "compute_seconds": estimate.compute,
            "hbm_seconds": estimate.memory,
            "network_seconds": estimate.network,
            "binds": estimate.binds,
            "step_seconds": estimate.step,
            "tokens_per_second": found.tokens / estimate.step,
            "mfu": found.flops.model / (estimate.step * peak),
            "days": (phase.last - phase.first) * estimate.step / DAY,
            "input_bytes_per_second_per_host": found.batch_bytes / hosts / estimate.step,
        },
        "host_bytes": _host_bytes(found, phase.data.prefetch),
    }


def _compiled_figures(one: Compiled, topology: Topology) -> dict[str, Any]:
    return {
        "arguments": one.arguments,
        "temporary": one.temporary,
        "code": one.code,
        "peak": one.peak,
        "fits": one.fits(topology.memory),
        "compiler_limit": one.limit,
        "failure": one.failure,
        "refused": one.refused,
        "trace_seconds": one.trace_seconds,
        "compile_seconds": one.compile_seconds,
        "compiler_host_bytes": one.host_bytes,
    }


def _traffic(one: Traffic, topology: Topology) -> dict[str, Any]:
    return {
        **dataclasses.asdict(one),
        "network": one.spans > 1,
        "seconds_at_peak": one.seconds(topology),
    }


def _host_bytes(found: Sketch, prefetch: int) -> float:
    """Of a host's memory: batches made ahead, and the state that is being saved."""
    state = sum(leaf.whole for leaf in (*found.parameters, *found.optimizer))
    return (prefetch * found.batch_bytes + state) / found.topology.hosts


def _run(phases: Sequence[dict], steps: int, topology: Topology, asked: Asked) -> dict[str, Any]:
    """The whole run, from its phases."""
    seconds = sum(one["steps"] * one["estimate"]["step_seconds"] for one in phases)
    tokens = sum(one["tokens"] for one in phases)
    flops = sum(one["steps"] * one["model_flops"] for one in phases)
    peak = topology.chip.flops / topology.chip.devices * topology.devices
    memory = topology.chip.host_memory * min(topology.chip.host_chips, _chips(topology))
    return {
        "steps": steps,
        "tokens": tokens,
        "model_flops": flops,
        "estimated_days": seconds / DAY,
        "estimated_tokens_per_second": tokens / seconds,
        "estimated_mfu": flops / (seconds * peak),
        "host_bytes": max(one["host_bytes"] for one in phases),
        "host_memory_bytes": memory or None,
        "efficiency": asked.efficiency,
    }


def _ramp(phases: Sequence[dict]) -> dict[str, Any] | None:
    """Of a batch that grows, the phases until it is grown; None without."""
    if not phases:
        return None
    places = sum(one["steps"] * one["batch"][0] * one["batch"][1] for one in phases)
    return {
        "steps": sum(one["steps"] for one in phases),
        "tokens": sum(one["tokens"] for one in phases),
        "shapes": [one["batch"][0] for one in phases],
        "idle": 1 - sum(one["tokens"] for one in phases) / places,
        "estimated_days": sum(one["estimate"]["days"] for one in phases),
    }


def _chips(topology: Topology) -> int:
    return topology.devices // topology.chip.devices


def verdict(figures: dict[str, Any]) -> str:
    """In a line: whether it fits, and otherwise by how much it does not and what would mend it."""
    peak, there = figures["peak_bytes"] / GIB, figures["memory_bytes"] / GIB
    if figures["failures"]:
        name, why = next(iter(figures["failures"].items()))
        return f"no verdict: {name}: {why}"
    if figures["fits"]:
        return f"fits: {peak:.2f} of {there:.2f} GiB a device ({peak / there:.0%})"
    limits = [one["memory"].get("compiler_limit", 0) / GIB for one in figures["phases"]]
    there = min([there, *filter(None, limits)])
    over = f"{peak:.2f} GiB a device, {peak - there:.2f} GiB more than the {there:.2f} there are"
    return f"does not fit: it needs {over}; {figures['advice']}"


def as_json(figures: dict[str, Any]) -> str:
    """One JSON object."""
    return json.dumps({**figures, "verdict": verdict(figures)})


def print_table(figures: dict[str, Any], console: Console) -> None:
    """The figures for a person."""
    mesh = ", ".join(f"{axis} {size}" for axis, size in figures["mesh"].items()) or "one device"
    counted = "compiled" if figures["source"] == COMPILED else "by arithmetic, nothing compiled"
    console.print(
        f"{figures['model']}, {figures['parameters']:,} parameters, {figures['dtype']}, on"
        f" {figures['devices']} x {figures['chip']} ({figures['topology']}): {mesh}; remat"
        f" {figures['remat']}, {figures['accumulate']} microbatches; {counted}"
    )
    table = Table(show_header=True, box=None, pad_edge=False)
    table.add_column("")
    for phase in figures["phases"]:
        rows, length = phase["batch"]
        table.add_column(f"{phase['name']} {rows} x {length}", justify="right")
    others = {name: figures[name] for name in (EVALUATION, DECODE) if name in figures}
    for name in others:
        table.add_column(name, justify="right")
    for name, cells in _lines(figures["phases"], list(others.values())):
        table.add_row(name, *cells)
    console.print(table)
    run = figures["run"]
    console.print(
        f"run (estimate): {run['steps']:,} steps, {run['tokens']:.3g} tokens,"
        f" {run['estimated_days']:.2f} days, {run['estimated_tokens_per_second']:,.0f} tokens/s,"
        f" MFU {run['estimated_mfu']:.1%}"
    )
    if ramp := figures["ramp"]:
        shapes = ", ".join(map(str, ramp["shapes"]))
        console.print(
            f"of it the batch grows (estimate): {ramp['steps']:,} steps, {ramp['tokens']:.3g}"
            f" tokens, {ramp['estimated_days']:.2f} days, in shapes of {shapes} rows, of which"
            f" {ramp['idle']:.0%} idle"
        )
    there = run["host_memory_bytes"]
    of_host = f" of {there / GIB:.0f}" if there else ""
    console.print(f"host memory: {run['host_bytes'] / GIB:.2f}{of_host} GiB, batches and a save")
    for name, one in others.items():
        if one["refused"]:
            console.print(f"no {name} step: {one['refused']}", markup=False)
    console.print(f"counted: {figures['flop_convention']}", style="dim")
    console.print(figures["estimates"], style="dim")
    console.print(verdict(figures), style="bold", markup=False)


def _lines(phases: Sequence[dict], others: Sequence[dict]) -> list[tuple[str, list[str]]]:
    def gib(size: float) -> str:
        return f"{size / GIB:.3f} GiB"

    memories = [phase["memory"] for phase in phases]
    blank = [""] * len(others)
    lines = [
        ("parameters", [gib(one["parameters"]) for one in memories] + blank),
        ("optimizer state", [gib(one["optimizer"]) for one in memories] + blank),
        (
            "activations and temporaries",
            [gib(one["temporary"]) for one in [*memories, *others]],
        ),
        ("peak", [gib(one["peak"]) for one in [*memories, *others]]),
        ("model FLOPs a step", [f"{one['model_flops']:.3g}" for one in phases] + blank),
        ("hardware FLOPs a step", [f"{one['hardware_flops']:.3g}" for one in phases] + blank),
    ]
    kinds = dict.fromkeys(_kind(one) for phase in phases for one in phase["traffic"])
    for kind in kinds:
        cells = [
            gib(sum(one["sent"] for one in phase["traffic"] if _kind(one) == kind))
            + (" *" if phase["traffic_source"] == ANALYTIC else "")
            for phase in phases
        ]
        lines.append((f"sent, {kind}", cells + blank))
    estimates = [phase["estimate"] for phase in phases]
    for name, key in (("compute", "compute"), ("HBM", "hbm"), ("network", "network")):
        cells = [f"{one[f'{key}_seconds']:.4g} s" for one in estimates]
        lines.append((f"{name} (estimate)", cells + blank))
    texts = [f"{one['step_seconds']:.4g} s, {one['binds']} binds" for one in estimates]
    lines.append(("step (estimate)", texts + blank))
    texts = [f"{one['tokens_per_second']:,.0f}" for one in estimates]
    lines.append(("tokens/s (estimate)", texts + blank))
    lines.append(("MFU (estimate)", [f"{one['mfu']:.1%}" for one in estimates] + blank))
    lines.append(("days (estimate)", [f"{one['days']:.2f}" for one in estimates] + blank))
    rates = [one["input_bytes_per_second_per_host"] for one in estimates]
    lines.append(("input a host (estimate)", [f"{rate / 1e6:.3g} MB/s" for rate in rates] + blank))
    if any("compile_seconds" in one for one in memories):
        times = [f"{one['compile_seconds']:.1f} s" for one in [*memories, *others]]
        lines.append(("compiled in", times))
    if any(phase["traffic_source"] == ANALYTIC for phase in phases):
        lines.append(("* by arithmetic", []))
    return lines


def _kind(one: dict) -> str:
    return f"{one['kind']}{' between slices or nodes' if one['network'] else ''}"
