"""Measures a config on this machine: python -m plmjax.bench step --config=configs/bert.py:base

step                           the train step of the config's first phase, on random tokens
--config=FILE.py[:ARGUMENT]    the config, with overrides: --config.data.batch_size=16
--repeats=N                    timed steps after the warm-up (default 10)
--json                         prints one JSON object instead of a table
"""

import json
import statistics
import sys
import time

import jax
from absl import flags

from plmjax import cli, experiment
from plmjax.parallel.chips import peak_flops

CONFIG = cli.define_config_flag()
REPEATS = flags.DEFINE_integer("repeats", 10, "Timed steps after the warm-up.", lower_bound=1)
JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")

WARM_UP = 2
"""Steps that are not timed, after the one that compiles."""

CONVENTION = (
    "matrix products only, a multiply-add is 2, bidirectional attention in full, the head on the"
    " masked positions, backward = 2 x forward, rematerialisation not counted"
)


def main() -> int:
    """Measures and prints; returns the exit code."""
    settings = experiment.resolved(experiment.read_settings(CONFIG.value), None, None)
    figures = measure_step(experiment.build(settings), REPEATS.value)
    print(json.dumps(figures) if JSON.value else table(figures))
    return 0


def measure_step(plan: experiment.Experiment, repeats: int) -> dict:
    """Times the train step on one random batch that stays on the device.

    Returns:
      Figures by name; times in seconds, each step waited for.
    """
    step = plan.compiled_train_step()
    batch = plan.place(plan.objective.random_batch(plan.spec, seed=0))
    state = plan.fresh_state()
    times = []
    for _ in range(1 + WARM_UP + repeats):
        begin = time.perf_counter()
        state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))
        times.append(time.perf_counter() - begin)
    timed = times[1 + WARM_UP :]
    median = statistics.median(timed)
    rows, length = plan.spec["tokens"][0]
    flops = 3 * plan.objective.forward_flops(plan.spec)
    device = jax.devices()[0]
    peak = peak_flops(device.device_kind)
    return {
        "device": f"{jax.device_count()} x {device.device_kind}",
        "model": plan.settings.model["family"],
        "parameters": plan.parameter_count(),
        "dtype": plan.settings.model["dtype"],
        "batch": [rows, length],
        "first_step_seconds": times[0],
        "step_seconds": median,
        "fastest_step_seconds": min(timed),
        "slowest_step_seconds": max(timed),
        "tokens_per_second": rows * length / median,
        "flops_per_step": flops,
        "flops_per_second": flops / median,
        "mfu": flops / median / (peak * jax.device_count()) if peak else None,
        "flop_convention": CONVENTION,
    }


def table(figures: dict) -> str:
    """The figures for a person."""
    low, high = figures["fastest_step_seconds"], figures["slowest_step_seconds"]
    rows, length = figures["batch"]
    mfu = figures["mfu"]
    lines = {
        "device": figures["device"],
        "model": f"{figures['model']}, {figures['parameters']:,} parameters, {figures['dtype']}",
        "batch": f"{rows} x {length} tokens",
        "first step": f"{figures['first_step_seconds']:.1f} s, compilation included",
        "step": f"{figures['step_seconds']:.4f} s (median; {low:.4f} to {high:.4f})",
        "tokens/s": f"{figures['tokens_per_second']:,.0f}",
        "FLOPs": f"{figures['flops_per_step'] / 1e9:,.1f} GFLOP a step,"
        f" {figures['flops_per_second'] / 1e9:,.1f} GFLOP/s",
        "MFU": f"{mfu:.1%} of the published bf16 peak" if mfu else "no published peak",
        "counted": figures["flop_convention"],
    }
    return "\n".join(f"{name:<11} {text}" for name, text in lines.items())


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("step", "--help"):
        given = sys.argv[1] if len(sys.argv) > 1 else "nothing"
        print(f"error: what to measure? got {given}, expected: step", file=sys.stderr)
        sys.exit(cli.USER_ERROR)
    if sys.argv[1] == "step":
        del sys.argv[1]
    cli.run(main, CONFIG, __doc__)
