"""Several local processes are one run: the same losses, each its share, files once, one end.

Real processes of `plmjax.main` with gloo between them, as on several machines.
"""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from plmjax import cli
from plmjax.data.preparation import CorpusConfig, prepare
from plmjax.errors import UserError
from plmjax.parallel import processes
from plmjax.parallel.processes import Place, difference, find_place
from plmjax.train.watchdog import EXIT_CODE
from tests.parallel import together
from tests.parallel.together import (
    At,
    Batches,
    Ended,
    Recorded,
    both,
    light_input,
    other_code,
    slow_steps,
)
from tests.requires import need
from tests.run import tiny, verb

STEPS = 16
SILENCE = 20
"""Seconds after which a silent process counts as dead."""
MESHES = {
    "data": ("--config.mesh.data=4",),
    "fsdp": ("--config.mesh.data=1", "--config.mesh.fsdp=4"),
    "data 2, tensor 2": ("--config.mesh.data=2", "--config.mesh.tensor=2"),
}


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> tuple[str, ...]:
    """Of every run: a tiny config whose corpus is prepared."""
    folder = tmp_path_factory.mktemp("together")
    config = tiny.write_run(folder)
    prepare(
        CorpusConfig(
            source=f"text:{folder}/text.txt",
            cache_dir=f"{folder}/cache",
            vocab_size=300,
            held_out=0.2,
        ),
        quiet=True,
    )
    settings = {
        "train.steps": STEPS,
        "train.accumulate": 1,
        "train.log_every": 1,
        "evaluation.every": 8,
        "checkpoint.every": 8,
        "model.num_layers": 1,
        # The second phase with the shapes of the first: one compilation less.
        "phases.long.seq_len": 32,
        "phases.long.masking.max_predictions": 5,
    }
    return (
        config,
        f"--silence_seconds={SILENCE}",
        *(f"--config.{name}={value}" for name, value in settings.items()),
    )


def trained(flags, workdir: Path, count: int, devices: int, **injected) -> list[Ended]:
    """Runs to the end, which must be good."""
    before = injected.pop("before", dict.fromkeys(range(count), light_input))
    ended = together.run(count, devices, *flags, f"--workdir={workdir}", before=before, **injected)
    assert [each.code for each in ended] == [0] * count, [each.err[-3000:] for each in ended]
    return ended


def broken(flags, workdir: Path, wrong: dict, count: int = 2, **injected) -> list[Ended]:
    """Runs with what is wrong in some ranks, one device each; none of them may end well."""
    before = {rank: both(light_input, *wrong.get(rank, ())) for rank in range(count)}
    ended = together.run(count, 1, *flags, f"--workdir={workdir}", before=before, **injected)
    assert all(each.code for each in ended), [each.err[-3000:] for each in ended]
    return ended


def assert_same(workdir: Path, other: Path) -> None:
    """Asserts that two runs have logged and saved the same bits."""
    assert tiny.metric_records(workdir) == tiny.metric_records(other)
    ours, theirs = tiny.last_state(workdir), tiny.last_state(other)
    assert sorted(ours) == sorted(theirs)
    assert [name for name in theirs if ours[name].tobytes() != theirs[name].tobytes()] == []
    report = "evaluation.json"
    assert (workdir / report).read_text() == (other / report).read_text()


# What is found and agreed before anything runs.


@pytest.mark.parametrize(
    "given, says",
    [
        (("h:1", 2, None), "--processes=2 and no --process;"),
        ((None, 2, 0), "--process=0 and no --coordinator;"),
        (("h:1", 2, 2), "processes are numbered from 0 to 1"),
        (("h:1", 2, -1), "processes are numbered from 0 to 1"),
        (("h", 2, 1), "expected HOST:PORT"),
    ],
)
def test_numbers_that_do_not_fit(given, says):
    with pytest.raises(UserError, match=says):
        find_place(*given, 1)


def test_the_place_is_found(monkeypatch):
    for name in ("SLURM_JOB_ID", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    assert find_place(None, None, None, 1) is None
    step = {"JOB_ID": "7", "STEP_NODELIST": "node[003-004],x", "PROCID": "3", "LOCALID": "1"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert find_place(None, None, None, 1) is None
    monkeypatch.setenv("SLURM_NTASKS", "4")
    place = find_place(None, None, None, 1)
    assert (place.size, place.rank) == (4, 3)
    assert place.coordinator.startswith("node003:")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "there:99")
    assert find_place(None, None, None, 1) == Place("there:99", 2, 1)
    assert find_place("here:98", 3, 0, 1) == Place("here:98", 3, 0)


def test_a_coordinator_that_cannot_be_reached():
    port = together.free_port()
    says = rf"rank 1 of 2 cannot reach the coordinator at 127.0.0.1:{port}: .*, for 1 s"
    with pytest.raises(UserError, match=says):
        processes.join(Place(f"127.0.0.1:{port}", 2, 1), 1.0)


def test_others_that_do_not_come(flags, tmp_path):
    coordinator = f"--coordinator=127.0.0.1:{together.free_port()}"
    numbers = (coordinator, "--processes=2", "--process=0", "--connect_seconds=2")
    ended = verb.forked(*flags, *numbers, f"--workdir={tmp_path}/run")
    assert ended.code == cli.USER_ERROR
    assert ended.err.startswith("error: rank 0 of 2 has waited 2 s at 127.0.0.1:")
    assert len(ended.err.splitlines()) == 1


def test_the_first_difference_is_named():
    base = {"jax": "1", "config.a": 1, "config.b": [1]}
    assert difference([base] * 3) == ""
    said = difference([base, base, base | {"config.a": 2, "config.b": [2]}])
    assert said == (
        "the ranks were started differently: rank 2 of 3 has config.a=2, the others 1"
        " (and 1 more settings differ)"
    )


# Runs of one, two and four processes.


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory):
    """Workdirs of runs of one process with four devices, by mesh, made when first asked for."""
    folder, made = tmp_path_factory.mktemp("alone"), {}

    def run(mesh: str) -> Path:
        if mesh not in made:
            made[mesh] = folder / mesh
            trained((*flags, *MESHES[mesh]), made[mesh], 1, 4)
        return made[mesh]

    return run


@pytest.mark.slow
def test_two_processes_write_once_and_read_each_its_share(flags, tmp_path):
    """With the real input, and the same bits as one process."""
    need("tensorflow", "pip install -r requirements.txt")
    flags = (*flags, *MESHES["data"])
    (one,) = trained(flags, tmp_path / "one", 1, 4, before={})
    recorded = {rank: Recorded(tmp_path / f"examples.{rank}") for rank in range(2)}
    two = trained(flags, tmp_path / "two", 2, 2, before=recorded)
    assert_same(tmp_path / "two", tmp_path / "one")
    for rank in range(2):
        first = np.arange(STEPS) * 8 + rank * 4
        assert recorded[rank].read("training") == (first[:, None] + np.arange(4)).tolist()
    # Of each held-out batch the first or the last four; rank 0 reads all for the baselines, too.
    asked = [{tuple(rows) for rows in recorded[rank].read("evaluation")} for rank in range(2)]
    whole = {rows for rows in asked[0] if len(rows) == 8}
    assert len(whole) > 2
    assert asked[0] - whole == {rows[:4] for rows in whole}
    assert asked[1] == {rows[4:] for rows in whole}
    assert two[1].said == []
    # Of what is said some depends on the machine's speed; metrics are said in lines of their own.
    lines = [sum("mlm loss" in line for line in each.said) for each in (one, two[0])]
    assert lines[0] == lines[1] >= STEPS
    once = {"run.json", "metrics.jsonl", "curves.png", "evaluation.json", "events", "checkpoints"}
    assert {path.name for path in (tmp_path / "two").iterdir()} == once
    assert len(list((tmp_path / "two" / "events").iterdir())) == 1
    run = json.loads((tmp_path / "two" / "run.json").read_text())
    assert [start["processes"] for start in run["starts"]] == [2]


@pytest.mark.slow
def test_processes_compute_the_same_bits(flags, alone, tmp_path):
    trained((*flags, *MESHES["fsdp"]), tmp_path / "run", 4, 1)
    assert_same(tmp_path / "run", alone("fsdp"))


@pytest.mark.slow
def test_processes_that_share_rows_read_the_same(flags, alone, tmp_path):
    """Tensor across processes: each pair has the same rows, and adds in another order."""
    mesh, count = "data 2, tensor 2", 4
    recorded = {rank: Recorded(tmp_path / f"examples.{rank}") for rank in range(count)}
    before = {rank: both(light_input, recorded[rank]) for rank in range(count)}
    trained((*flags, *MESHES[mesh]), tmp_path / "run", count, 1, before=before)
    first = np.arange(STEPS) * 8
    for rank in range(count):
        rows = first[:, None] + rank // 2 * 4 + np.arange(4)
        assert recorded[rank].read("training")[:STEPS] == rows.tolist()
    records = zip(
        tiny.metric_records(tmp_path / "run"), tiny.metric_records(alone(mesh)), strict=True
    )
    for ours, theirs in records:
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_a_signal_to_one_stops_all_and_others_go_on(flags, alone, tmp_path):
    """Saved by as many processes as there were, resumed by fewer, to the same bits."""
    flags, workdir = (*flags, *MESHES["data"]), tmp_path / "run"
    saved, counts = 0, (4, 2, 1)
    for count in counts[:-1]:
        at = At(saved + 1, "SIGTERM")
        before = {rank: light_input for rank in range(count)}
        before[count - 1] = both(light_input, at, slow_steps)
        ended = together.run(count, 4 // count, *flags, f"--workdir={workdir}", before=before)
        assert {each.code for each in ended} == {cli.PREEMPTED}, [each.err for each in ended]
        saved = tiny.saved_steps(workdir)[-1]
        assert at.step < saved < STEPS
        assert f"Stopped by signal 15 after step {saved}, which is saved;" in ended[0].said
    (last,) = trained(flags, workdir, 1, 4)
    assert f"Resuming at step {saved} of" in last.out
    assert_same(workdir, alone("data"))


# What would hang the run ends it in every process. Each time has a minute for a slow machine.
SLACK = 60


@pytest.mark.parametrize(
    "wrong, own_code, says",
    [
        pytest.param(
            *(Batches(3, "corrupt"), cli.USER_ERROR, "part 3 of the store is damaged"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Batches(3, "end"),
            cli.USER_ERROR,
            f"the data of phase 'data' ended after step 2 of {STEPS // 2}",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(Batches(3, "mistake"), 1, "KeyError: 'a mistake of the program'"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(At(3, "SIGKILL"), -signal.SIGKILL, f"no sign of life for {SILENCE} s"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["corrupt", "end", "mistake", "SIGKILL"],
)
def test_a_rank_that_ends_is_named_by_the_others(flags, tmp_path, wrong, own_code, says):
    well, ill = broken(flags, tmp_path / "run", {1: [wrong]})
    assert (well.code, ill.code) == (EXIT_CODE, own_code)
    assert well.error.startswith(f"rank 1 of 2 ended: {says}")
    assert well.seconds < SILENCE + SLACK
    if own_code == cli.USER_ERROR:
        assert ill.error.startswith(says)


@pytest.mark.slow
def test_a_rank_of_four_that_is_killed(flags, tmp_path):
    ended = broken(flags, tmp_path / "run", {2: [At(3, "SIGKILL")]}, 4)
    assert [each.code for each in ended] == [EXIT_CODE, EXIT_CODE, -signal.SIGKILL, EXIT_CODE]
    for each in (ended[0], ended[1], ended[3]):
        assert each.error.startswith("rank 2 of 4 ended: no sign of life")


@pytest.mark.slow
def test_the_coordinator_that_is_killed(flags, tmp_path):
    """jax hears of it first and says so, at once; the last line is ours."""
    ill, well = broken(flags, tmp_path / "run", {0: [At(3, "SIGKILL")]})
    assert (ill.code, well.code) == (-signal.SIGKILL, EXIT_CODE)
    assert well.error.startswith("rank 0 of 2, the coordinator at 127.0.0.1:")
    assert well.seconds < SILENCE + SLACK


@pytest.mark.slow
def test_a_rank_that_stands_still(flags, tmp_path):
    flags = (*flags, "--config.train.stall_seconds=30")
    ended = broken(flags, tmp_path / "run", {1: [Batches(4, "stall")]})
    for rank, each in enumerate(ended):
        assert each.code == EXIT_CODE
        assert each.error.startswith("no progress for 30 s (config.train.stall_seconds): rank")
        assert "rank 1 of 2: waits for its next batch" in each.error
        stacks = (tmp_path / "run" / f"stacks.{rank}.txt").read_text()
        assert f"Stacks of rank {rank} of 2" in stacks and "Stacks of" in each.err
        assert "training.py" in stacks
        assert ("together.py" in stacks) == (rank == 1)  # where it stands still
        assert each.seconds < 30 + SLACK


@pytest.mark.slow
def test_a_rank_that_keeps_the_lock_of_python(flags, tmp_path):
    flags = (*flags, "--config.train.stall_seconds=20")
    well, ill = broken(flags, tmp_path / "run", {1: [At(3, "hold")]})
    assert (well.code, ill.code) == (EXIT_CODE, 1)
    assert well.error.startswith("rank 1 of 2 ended: no sign of life")
    assert "after_step" in ill.err  # its stack
    assert ill.seconds < 20 + SILENCE + SLACK


@pytest.mark.parametrize("what", ["config", "code"])
def test_ranks_that_were_started_differently(flags, tmp_path, what):
    own = {1: ("--config.optimizer.learning_rate=0.5",)} if what == "config" else {}
    wrong = {} if what == "config" else {1: [other_code]}
    ended = broken(flags, tmp_path / "run", wrong, own=own)
    says = {
        "config": "rank 1 of 2 has config.optimizer.learning_rate=0.5, the others 0.01",
        "code": 'rank 1 of 2 has the digest of plmjax\'s code="another", the others',
    }[what]
    assert {each.code for each in ended} <= {cli.USER_ERROR, EXIT_CODE}
    assert all(says in each.error for each in ended)
    assert not (tmp_path / "run").exists()
