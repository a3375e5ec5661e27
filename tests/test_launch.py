"""What launches a run: each script's dry run, and what it does with stubs for its tools."""

import json
import os
import re
import shlex
import shutil
import stat
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from launch.gke.render import CHIPS_PER_HOST, rendered
from launch.published_plans import HEAD, PLANS, line
from tests.requires import missing, need

ROOT = Path(__file__).parent.parent
SHELL = ["launch/tpu_vm.sh", "launch/worker.sh", "launch/slurm.sbatch", ".ci/run"]
SLICE = ["--name=mine", "--zone=here", "--project=ours"]
KIND = ["--type=v5p-128", "--version=v2"]
RUN = ["--", "--config=configs/bert.py:base", "--workdir=gs://bucket/a run"]


def called(*command, **environment):
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("TPU_")},
        **{key: str(value) for key, value in environment.items()},
    }
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def stub(folder, name, script):
    """A program of that name on the PATH of `folder`, which notes how it was called."""
    path = folder / name
    noted = f'#!/usr/bin/env bash\nprintf "%s\\n" "{name} $*" >>"{folder}/calls"\n'
    path.write_text(noted + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def calls(folder):
    return (folder / "calls").read_text().splitlines()


def one_line_error(done, message):
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize("script", SHELL)
def test_shellcheck_finds_nothing(script):
    beside = Path(sys.executable).with_name("shellcheck")
    found = str(beside) if beside.exists() else shutil.which("shellcheck")
    if found is None:
        missing("needs shellcheck: pip install -r requirements-ci.txt")
    done = called(found, "--norc", script)
    assert done.returncode == 0, done.stdout


def test_every_shell_script_is_checked():
    there = [path for path in (ROOT / "launch").rglob("*") if path.suffix in (".sh", ".sbatch")]
    assert {str(path.relative_to(ROOT)) for path in there} == set(SHELL) - {".ci/run"}


# ------------------------------------------------------------------------------------- TPU VM


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["create", *KIND, "--spot"], ["create", "--accelerator-type=v5p-128", "--spot"]),
        (["install"], ["scp", "--worker=all", "jax[tpu]"]),
        (["start", *RUN], ["ssh", "--worker=all", "plmjax/launch/worker.sh start", "a\\ run"]),
        (["logs", "--worker=3"], ["ssh", "--worker=3", "worker.sh log"]),
        (["status"], ["ssh", "--worker=all", "worker.sh status"]),
        (["stop"], ["worker.sh stop"]),
        (["restart", *RUN], ["worker.sh stop", "worker.sh start"]),
        (["watch", *KIND, *RUN], ["describe", "delete", "create", "scp", "worker.sh start"]),
        (["delete"], ["delete", "--quiet"]),
    ],
    ids=lambda value: value[0],
)
def test_a_dry_run_prints_what_would_be_run(command, expected, tmp_path):
    path = stub(tmp_path, "gcloud", "exit 1")
    done = called("launch/tpu_vm.sh", command[0], *SLICE, "--dry_run", *command[1:], **path)
    assert done.returncode == 0, done.stderr
    lines = [text for text in done.stdout.splitlines() if not text.startswith("#")]
    words = [shlex.split(text) for text in lines]
    assert all(found[:4] == ["gcloud", "compute", "tpus", "tpu-vm"] for found in words)
    assert all({"--zone=here", "--project=ours"} <= set(found) for found in words)
    assert all(any("mine" in word for word in found) for found in words)
    place = 0  # in this order
    text = "\n".join(" ".join(found) for found in words)
    for part in expected:
        place = text.index(part, place)
    assert not (tmp_path / "calls").exists(), "nothing is called"


def test_the_environment_names_the_slice():
    named = {"TPU_NAME": "mine", "TPU_ZONE": "here", "TPU_PROJECT": "ours"}
    done = called("launch/tpu_vm.sh", "delete", "--dry_run", **named)
    expected = "gcloud compute tpus tpu-vm delete mine --zone=here --project=ours --quiet"
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["create", "--zone=a", "--project=b"], "--name is missing; give it, or set TPU_NAME"),
        (["create", "--name=a", "--project=b"], "--zone is missing; give it, or set TPU_ZONE"),
        (["create", "--name=a", "--zone=b"], "--project is missing"),
        (["create", *SLICE], "--type is missing; give it, or set TPU_TYPE"),
        (["start", *SLICE], "what to train is missing"),
        (["begin", *SLICE], "'begin' is no command"),
        (["start", *SLICE, "--config=x"], "flags of plmjax.main come after --"),
        ([], "is no command"),
    ],
)
def test_a_mistake_is_one_line(command, message):
    one_line_error(called("launch/tpu_vm.sh", *command), message)


def played(folder, states, codes):
    """A gcloud whose slice is in these states, and whose run ends with these codes, one a look."""
    (folder / "states").write_text("\n".join(states) + "\n")
    (folder / "codes").write_text("\n".join(codes) + "\n")
    return stub(
        folder,
        "gcloud",
        f"""
next() {{ head -n 1 "{folder}/$1"; sed -i 1d "{folder}/$1"; }}
case "$*" in
  *describe*) said=$(next states); [[ $said == GONE ]] && exit 1; echo "$said" ;;
  *status*) printf '%b\\n' "$(next codes)" ;;
esac
""",
    )


def test_watching_starts_again_what_was_preempted_and_makes_again_what_is_gone(tmp_path):
    states = ["GONE", "CREATING", "READY", "PREEMPTED", "READY", "READY", "READY"]
    path = played(tmp_path, states, ["running", "exited 75", "running", "exited 0"])
    done = called("launch/tpu_vm.sh", "watch", *SLICE, *KIND, "--every=0", *RUN, **path)
    assert done.returncode == 0, done.stderr
    kinds = ("describe", "delete", "create", "scp", "status", "tar -xzf", "worker.sh start")
    done_in_order = [next(kind for kind in kinds if kind in call) for call in calls(tmp_path)]
    made = ["create", "scp", "tar -xzf", "worker.sh start"]
    assert done_in_order == [
        *("describe", *made),
        *("describe", "describe", "status"),
        *("describe", "delete", *made),
        *("describe", "status", "worker.sh start"),
        *("describe", "status", "describe", "status"),
    ]


def test_watching_looks_at_all_workers(tmp_path):
    """One was preempted, the other ended because of it; then one has an error of its own."""
    codes = ["exited 70\\nexited 75", "exited 0\\nlost", "exited 70\\nexited 1"]
    path = played(tmp_path, ["READY"] * 3, codes)
    done = called("launch/tpu_vm.sh", "watch", *SLICE, *KIND, "--every=0", *RUN, **path)
    assert done.returncode == 1
    assert "the run has failed" in done.stderr
    assert sum("worker.sh start" in call for call in calls(tmp_path)) == 2


def test_watching_does_not_start_for_ever(tmp_path):
    path = played(tmp_path, ["READY"] * 3, ["exited 70"] * 3)
    watch = ["watch", *SLICE, *KIND, "--every=0", "--restarts=2", *RUN]
    one_line_error(called("launch/tpu_vm.sh", *watch, **path), "started --restarts times")
    assert sum("worker.sh start" in call for call in calls(tmp_path)) == 2


def test_watching_ends_with_a_run_that_fails(tmp_path):
    path = played(tmp_path, ["READY"], ["exited 2"])
    done = called("launch/tpu_vm.sh", "watch", *SLICE, *KIND, "--every=0", *RUN, **path)
    assert done.returncode == 1
    assert "the run has failed" in done.stderr
    assert not any("start" in call for call in calls(tmp_path))


@pytest.fixture
def worker(tmp_path):
    """launch/worker.sh with a python that waits for its TERM, then ends with 75."""
    program = """
trap "exit 75" TERM
echo saw "$@"
[[ $* == *now* ]] && exit 3
while :; do sleep 0.1; done
"""
    stub(tmp_path, "python", program)
    environment = {"PLMJAX_STATE": tmp_path / "state", "PLMJAX_PYTHON": tmp_path / "python"}
    yield lambda *words: called("launch/worker.sh", *words, **environment)
    called("launch/worker.sh", "stop", **environment)


def test_a_worker_runs_and_stops_with_the_run_s_code(worker, tmp_path):
    assert worker("status").stdout == "idle\n"
    assert worker("start", "--config=a b").stdout == "started\n"
    assert worker("status").stdout == "running\n"
    one_line_error(worker("start"), "a run is going on here already")
    log, end = tmp_path / "state" / "log", time.monotonic() + 60
    while not log.read_text() and time.monotonic() < end:  # then it has set its trap
        time.sleep(0.02)
    assert worker("stop").stdout == "exited 75\n"
    assert worker("status").stdout == "exited 75\n"
    assert log.read_text().splitlines()[0] == "saw -m plmjax.main --config=a b"
    assert worker("start", "now").returncode == 0  # again, after it has ended
    assert worker("stop").stdout == "exited 3\n"


def test_a_worker_whose_machine_restarted_has_lost_its_run(worker, tmp_path):
    worker("start")
    group = int((tmp_path / "state" / "pid").read_text())
    os.killpg(group, 9)
    assert worker("status").stdout == "lost\n"


# -------------------------------------------------------------------------------------- SLURM


def slurm(folder, code, *words, **environment):
    stub(folder, "scontrol", "")
    path = stub(folder, "srun", f"exit {code}")
    given = {"SLURM_SUBMIT_DIR": ROOT, "SLURM_JOB_ID": 12} | path | environment
    return called("bash", "launch/slurm.sbatch", *words, **given)


@pytest.mark.parametrize("code", [70, 75])
def test_a_job_is_queued_again_when_it_was_preempted(tmp_path, code):
    assert slurm(tmp_path, code, "--config=a").returncode == 0
    first, second = calls(tmp_path)
    assert first.endswith("-m plmjax.main --config=a")
    assert second == "scontrol requeue 12"


def test_a_job_is_not_queued_again_for_ever(tmp_path):
    done = slurm(tmp_path, 75, "--config=a", SLURM_RESTART_COUNT=3, PLMJAX_RESTARTS=3)
    assert done.returncode == 75
    assert "PLMJAX_RESTARTS times" in done.stderr
    assert len(calls(tmp_path)) == 1


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_that_ends_otherwise_ends_as_the_run_did(tmp_path, code):
    assert slurm(tmp_path, code, "--config=a").returncode == code
    assert len(calls(tmp_path)) == 1


def test_a_job_s_dry_run_and_its_mistake(tmp_path):
    done = slurm(tmp_path, 0, "--config=a", PLMJAX_DRY_RUN=1)
    assert re.search("^srun .*plmjax.main --config=a", done.stdout, re.MULTILINE)
    assert "scontrol requeue 12" in done.stdout
    assert not (tmp_path / "calls").exists()
    one_line_error(slurm(tmp_path, 0), "what to train is missing")


def test_a_job_asks_for_one_process_a_gpu_and_to_be_told_before_its_end():
    asked = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in (ROOT / "launch/slurm.sbatch").read_text().splitlines()
        if line.startswith("#SBATCH")
    )
    assert asked["gpus-per-node"] == asked["ntasks-per-node"]
    assert asked["signal"].startswith("TERM@"), "to the steps, not to the script alone"
    assert "requeue" in asked


# ---------------------------------------------------------------------------------------- GKE

JOBSET = {"replicatedJobs", "failurePolicy", "successPolicy", "network", "suspend", "coordinator"}
"""Of what a JobSet's spec may have, what is known here (kubernetes-sigs/jobset, v1alpha2)."""


def jobset(**changes):
    given = {
        **{"name": "bert", "image": "registry/plmjax:1", "accelerator": "tpu-v5p-slice"},
        **{"topology": "4x4x4", "slices": 2, "restarts": 7},
        "arguments": ["--config=configs/bert.py:large", "--workdir=gs://b/it's {a} $run: #1"],
    }
    return yaml.safe_load(rendered(**given | changes))


def test_the_manifest_is_a_jobset_of_a_valid_job():
    found = jobset()
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert set(found["spec"]) <= JOBSET
    policy = found["spec"]["failurePolicy"]
    assert set(policy) <= {"maxRestarts", "restartStrategy", "rules"}
    for rule in policy["rules"]:
        assert set(rule) <= {"name", "action", "onJobFailureReasons", "targetReplicatedJobs"}
        assert re.fullmatch("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
        assert rule["action"] in {"FailJobSet", "RestartJobSet"}
    for job in found["spec"]["replicatedJobs"]:
        assert set(job) == {"name", "replicas", "template"}
        whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}}
        validate = need("kubernetes_validate", "pip install -r requirements-ci.txt")
        validate.validate({**whole, **job["template"]}, validate.latest_version(), strict=True)


def test_a_wrong_job_would_be_found():
    validate = need("kubernetes_validate", "pip install -r requirements-ci.txt")
    template = jobset()["spec"]["replicatedJobs"][0]["template"]
    template["spec"]["template"]["spec"]["restartPolici"] = "Never"
    whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, **template}
    with pytest.raises(validate.ValidationError):
        validate.validate(whole, validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("accelerator", "topology", "hosts", "chips"),
    [
        ("tpu-v5p-slice", "8x8x16", 256, 4),
        ("tpu-v4-podslice", "4x4x4", 16, 4),
        ("tpu-v6e-slice", "16x16", 64, 4),
        ("tpu-v6e-slice", "1x1", 1, 1),
    ],
)
def test_the_manifest_has_a_pod_a_host(accelerator, topology, hosts, chips):
    job = jobset(accelerator=accelerator, topology=topology)["spec"]["replicatedJobs"][0]
    assert job["replicas"] == 2
    assert job["template"]["spec"]["parallelism"] == hosts
    assert job["template"]["spec"]["completions"] == hosts
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": chips}
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == topology
    assert pod["containers"][0]["args"][1] == "--workdir=gs://b/it's {a} $run: #1"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image=i"], "--name is missing"),
        (["--name=Bert", "--image=i"], "--name=Bert; expected"),
        (["--name=b"], "--image is missing"),
        (["--name=b", "--image=i", "--accelerator=tpu-v9"], f"one of {next(iter(CHIPS_PER_HOST))}"),
        (["--name=b", "--image=i", "--accelerator=tpu7x", "--topology=64"], "as 4x4x4"),
        (
            ["--name=b", "--image=i", "--accelerator=tpu7x", "--topology=4x4x4"],
            "what to train is missing",
        ),
    ],
)
def test_a_mistake_in_the_manifest_is_one_line(words, message):
    one_line_error(called(sys.executable, "launch/gke/render.py", *words), message)


def test_the_renderer_prints_what_kubectl_applies():
    words = ["--name=bert", "--image=i", "--accelerator=tpu7x", "--topology=4x4x4"]
    done = called(sys.executable, "launch/gke/render.py", *words, "--", "--config=a", "--workdir=b")
    assert done.returncode == 0, done.stderr
    job = yaml.safe_load(done.stdout)["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["template"]["spec"]["containers"][0]["args"] == ["--config=a", "--workdir=b"]


# ---------------------------------------------------------------------------------- container


def test_the_container_copies_what_is_there_and_installs_what_jax_has():
    text = (ROOT / "launch/Dockerfile").read_text()
    ignore = (ROOT / "launch/Dockerfile.dockerignore").read_text().split()
    copied = [words.split()[0] for words in re.findall("^COPY (.*)$", text, re.MULTILINE)]
    for path in copied:
        assert (ROOT / path).exists()
        assert f"!{path.removeprefix('./')}" in ignore
    from importlib.metadata import metadata

    extras = metadata("jax").get_all("Provides-Extra")
    named = re.search("ACCELERATOR is one of jax's extras: (.*) for none", text)[1]
    assert set(re.findall(r"\w+", named)) - {"or"} <= set(extras)
    entry = json.loads(re.search("^ENTRYPOINT (.*)$", text, re.MULTILINE)[1])
    assert entry == ["python", "-m", "plmjax.main"]


# -------------------------------------------------------------------------------------- sweeps

SWEEP = [sys.executable, "-m", "launch.sweep", "--config=configs/quickstart.py"]
TWO = "--set=optimizer.learning_rate=1e-3,2e-3"


def test_the_sweep_starts_every_combination():
    done = called(*SWEEP, "--dry_run", TWO, "--set=seed=0,1,2")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(set(lines)) == 6
    assert "--workdir=runs/sweep/learning_rate=2e-3,seed=1 " in lines[4] + " "
    assert "--config.optimizer.learning_rate=2e-3 --config.seed=1" in lines[4]


def test_what_all_runs_of_a_sweep_share_names_none():
    done = called(*SWEEP, "--dry_run", "--set=task.dev=../dev.tsv", "--set=init_from=runs/x,runs/y")
    first, second = done.stdout.splitlines()
    assert "--workdir=runs/sweep/init_from=runs_x " in first + " "
    assert "--workdir=runs/sweep/init_from=runs_y " in second + " "
    assert "--config.task.dev=../dev.tsv --config.init_from=runs/y" in second
    (only,) = called(*SWEEP, "--dry_run", "--set=task.train=../a").stdout.splitlines()
    assert "--workdir=runs/sweep/one " in only + " "


def test_the_sweep_hands_in_a_job_each(tmp_path):
    path = stub(tmp_path, "queue", "")
    submit = "--submit=queue --name={name} -n {number} job {flags}"
    done = called(*SWEEP, submit, TWO, f"--workdir={tmp_path}/a b", "--dry_run", **path)
    assert done.stdout.count("\n") == 2
    assert not (tmp_path / "calls").exists()
    done = called(*SWEEP, submit, TWO, f"--workdir={tmp_path}/a b", **path)
    assert done.returncode == 0, done.stderr
    first, second = calls(tmp_path)
    assert first.startswith("queue --name=learning_rate=1e-3 -n 0 job --config=configs/quickstart")
    assert f"--workdir={tmp_path}/a b/learning_rate=2e-3" in second
    assert second.endswith("--config.optimizer.learning_rate=2e-3")


def test_the_sweep_sorts_by_any_number(tmp_path):
    for rate, (loss, accuracy) in {"1e-3": (3.0, 0.4), "2e-3": (2.0, 0.3)}.items():
        folder = tmp_path / f"learning_rate={rate}"
        folder.mkdir()
        numbers = {"distance_loss": 1.0, "lm_accuracy": accuracy, "lm_loss": loss}
        (folder / "evaluation.json").write_text(json.dumps({"scores": {"this model": numbers}}))
    report = [*SWEEP, TWO, f"--workdir={tmp_path}", "--report"]
    lines = called(*report).stdout.splitlines()[:2]
    assert [text.split("learning_rate=")[1] for text in lines] == ["2e-3", "1e-3"]
    lines = called(*report, "--objective=lm_accuracy").stdout.splitlines()[:2]
    assert [text.split("learning_rate=")[1] for text in lines] == ["1e-3", "2e-3"]
    one_line_error(called(*report, "--objective=mlm_loss"), "distance_loss, lm_accuracy, lm_loss")


def test_the_sweep_of_a_task_chooses_by_its_metric_over_seeds(tmp_path):
    """The best single run is one of the settings that are worse on the average."""
    f1 = {("1e-3", "0"): 0.9, ("1e-3", "1"): 0.3, ("2e-3", "0"): 0.7, ("2e-3", "1"): 0.8}
    for (rate, seed), value in f1.items():
        folder = tmp_path / f"learning_rate={rate},seed={seed}"
        folder.mkdir()
        numbers = {"task_loss": value, "f1": value}
        (folder / "evaluation.json").write_text(json.dumps({"scores": {"this model": numbers}}))
        (folder / "run.json").write_text(json.dumps({"config": {"task": {"name": "tagging"}}}))
    done = called(*SWEEP, TWO, "--set=seed=0,1", f"--workdir={tmp_path}", "--report")
    lines = done.stdout.splitlines()
    means, deviations = (0.75, 0.6), (statistics.stdev([0.7, 0.8]), statistics.stdev([0.9, 0.3]))
    told = zip(("2e-3", "1e-3"), means, deviations, strict=True)
    assert lines[5:8] == [
        "f1: mean ± standard deviation (runs)",
        *(f"  {mean:.4f} ± {sd:.4f} (2)  learning_rate={rate}" for rate, mean, sd in told),
    ]
    assert "learning_rate=2e-3; its best run is" in lines[9]
    assert lines[10] == "  learning_rate=2e-3,seed=1"
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set=seed"], "--set=seed; expected KEY=VALUE"),
        (["--submit=queue {comand}"], "--submit has {comand}; there are {command}, {flags}"),
        (["--submit=queue"], "neither {command} nor {flags}"),
        (["--submit=queue ${"], "braces of the shell"),
        (["--submit=false {command}"], "--submit failed for learning_rate=1e-3"),
        (["seed=1"], "'seed=1' is not a flag"),
    ],
)
def test_a_mistake_in_a_sweep_is_one_line(words, message):
    one_line_error(called(*SWEEP, TWO, *words), message)


# --------------------------------------------------------------------------------- the table


def test_the_table_s_dry_run_names_a_plan_for_each():
    done = called(sys.executable, "-m", "launch.plan_table", "--dry_run", "--only=gpt3")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 8
    assert done.stdout.splitlines()[-1].endswith(
        "-m plmjax.plan --config=configs/gpt.py:gpt3-175b --topology=v5p:8x8x16 --json"
    )


def test_a_line_of_the_table_has_all_columns():
    phases = [{"estimate": {"step_seconds": seconds}} for seconds in (1.234, 5)]
    figures = {"devices": 1024, "peak_bytes": 50 * 2**30, "memory_bytes": 95 * 2**30, "fits": True}
    figures |= {"phases": phases, "run": {"estimated_mfu": 0.456, "estimated_days": 1234.56}}
    text = line(*PLANS[0], figures)
    assert text.count("|") == len(HEAD) + 1
    assert text.endswith("| 1,024 | 50.0 of 95 | yes | 1.23 s, 5.00 s | 46% | 1,234.6 |")
