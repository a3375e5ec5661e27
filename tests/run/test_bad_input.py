"""A user's mistake: one line that begins with `error: `, exit code 2, and nothing left behind."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plmjax import cli
from tests.run import tiny, verb

# What preparation says of its stages, each when it is finished.
STAGE = r"(reading text|training the tokenizer|tokenising|storing): \d+\.\d s( \(\d+\.\d MB/s\))?"
PROGRESS = rf"corpus: .+|{STAGE}"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclasses.dataclass(frozen=True)
class Mistake:
    """flags: as typed, {here} being the folder of config.py and text.txt; a flag that begins with
    `--config=` or `--workdir=` takes the place of the usual one. says: what the line must have.
    prepare: makes the mistake that lies in files. text: more lines for the config file.
    """

    name: str
    flags: str
    says: tuple[str, ...]
    prepare: Callable[[Path], None] | None = None
    text: str = ""
    environment: dict[str, str] | None = None
    before: Callable[[], None] | None = None


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda here: (here / name).write_bytes(data)


def full_disk() -> None:
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(1_000_000, 900_000, 100_000)


FLAGS = [
    Mistake(
        "key",
        "--config.optimizer.learnig_rate=1",
        ("--config.optimizer.learnig_rate=1", "did you mean --config.optimizer.learning_rate?"),
    ),
    Mistake("section", "--config.trian.steps=1", ("did you mean --config.train.steps?",)),
    Mistake(
        "key of another section",
        "--config.learning_rate=1",
        ("did you mean --config.optimizer.learning_rate?",),
    ),
    Mistake("key like none", "--config.wwwww=1", ("--config.wwwww=1", "--print_config")),
    Mistake("no-key", "--noconfig.model.sacn", ("--noconfig.model.sacn", "--config.model.scan?")),
    Mistake("flag", "--wrkdir=x", ("--wrkdir", "did you mean 'workdir'?")),
    Mistake("flag like none", "--zzzzz", ("--zzzzz", "there are: compilation_cache, ")),
    Mistake("no flag", "config.train.steps=3", ("'config.train.steps=3' is not a flag", "--")),
    Mistake("int", "--config.train.steps=abc", ("--config.train.steps=abc", "expected an int")),
    Mistake("float for int", "--config.train.steps=1.5", ("expected an int, such as 36",)),
    Mistake("float", "--config.optimizer.learning_rate=fast", ("=fast", "expected a float")),
    Mistake("bool", "--config.model.scan=maybe", ("=maybe", "expected a bool, such as true")),
    Mistake("empty number", "--config.train.steps=", ("expected an int",)),
    Mistake("whole section", "--config.train=3", ("is a section", "--config.train.steps")),
    Mistake("flag's bool", "--print_config=maybe", ("--print_config=maybe",)),
    Mistake("no value", "--config.train.steps", ("--config.train.steps", "Missing value")),
    Mistake("no config", "--config= ", ("no such file", "configs/quickstart.py")),
    Mistake(
        "config file", "--config=configs/bret.py", ("bret.py", "did you mean 'configs/bert.py'?")
    ),
    Mistake("config folder", "--config=configs", ("--config=configs", "'configs/")),
    Mistake("preset", "--config=configs/bert.py:bass", ("'bass'", "did you mean 'base'?")),
    Mistake("argument's key", "--config=configs/bert.py:base,sq_len=1", ("sq_len", "'seq_len'?")),
    Mistake("argument's type", "--config=configs/bert.py:seq_len=x", ("seq_len=x", "an int")),
    Mistake("argument left over", "--config=configs/bert.py:base,small", ("'small'",)),
    Mistake("no argument", "--config=configs/quickstart.py:tiny", ("takes no argument", "tiny")),
    Mistake("empty workdir", "--workdir=", ("--workdir= is empty", "name a folder")),
]

CONFIG_FILES = [
    Mistake("name", "", ("config.py, line ", "NameError", "nosuch"), text="nosuch()"),
    Mistake("syntax", "", ("config.py, line ", "SyntaxError"), text="def :"),
    Mistake("import", "", ("config.py, line ", "nosuchmodule"), text="import nosuchmodule"),
    Mistake("no get_config", "", ("get_config()",), text="del get_config"),
    Mistake("no config", "", ("returns an int",), text="get_config = lambda: 3"),
    Mistake("needs an argument", "", ("after a colon",), text="get_config = lambda size: 3"),
    Mistake("new section", "", ("config.trian", "did you mean 'train'?"), text="with_(trian=3)"),
    Mistake("str", "", ("config.py, line ", "name"), text="within('optimizer', name=3)"),
    Mistake(
        "phase's key", "", ("config.phases.long.sqlen", "'seq_len'?"), text="within_phase(sqlen=64)"
    ),
    Mistake(
        "phase without start",
        "",
        ("config.phases.more.start=None", "0 <= x < 1"),
        text="with_phase(more={'seq_len': 48})",
    ),
]

SETTINGS = [
    Mistake("steps", "--config.train.steps=-5", ("config.train.steps=-5", "at least 1")),
    Mistake(
        *("parameters", "--config.train.parameters=bf16"),
        ("config.train.parameters='bf16'", "did you mean 'bfloat16'?"),
    ),
    Mistake("log_every", "--config.train.log_every=0", ("log_every=0", "1 or more")),
    Mistake("evaluation", "--config.evaluation.every=-1", ("config.evaluation.every=-1",)),
    Mistake("checkpoint", "--config.checkpoint.every=0", ("every=0", "at least 1")),
    Mistake("keep", "--config.checkpoint.keep=0", ("keep=0", "at least 1")),
    Mistake("profile", "--profile_steps=often", ("--profile_steps=often", "A:B")),
    Mistake("profile backwards", "--profile_steps=9:3", ("--profile_steps=9:3", "A < B")),
    Mistake("profile past the end", "--profile_steps=9:99", ("9:99", f"B <= {tiny.STEPS}")),
    Mistake(
        "accumulate", "--config.train.accumulate=3", ("batch_size=8", "config.train.accumulate=3")
    ),
    Mistake("accumulate 0", "--config.train.accumulate=0", ("config.train.accumulate=0",)),
    Mistake("mesh", "--config.mesh.fsdp=3", ("fsdp 3", "1 devices")),
    Mistake("mesh size", "--config.mesh.data=0", ("data 0", "positive")),
    Mistake(
        "batch on eight devices",
        "--config.data.batch_size=12 --config.train.accumulate=1",
        ("config.data.batch_size=12", "8 batch shards"),
        environment={"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
    ),
    Mistake(
        "heads on the mesh",
        "--config.mesh.tensor=4",
        ("config.model.num_heads=2", "config.mesh.tensor=4"),
        environment={"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
    ),
    Mistake(
        "positions", "--config.data.seq_len=64", ("config.data.seq_len=64", "max_positions=48")
    ),
    Mistake(
        "positions of a phase",
        "--config.phases.long.seq_len=64",
        ("config.phases.long.seq_len=64", "max_positions=48"),
    ),
    Mistake("seq_len", "--config.data.seq_len=3", ("config.data.seq_len=3", "8 to")),
    Mistake("heads", "--config.model.num_heads=5", ("hidden_size=32", "num_heads=5")),
    Mistake("batch", "--config.data.batch_size=0", ("config.data.batch_size=0",)),
    Mistake(
        "predictions",
        "--config.data.masking.max_predictions=33",
        ("config.data.masking.max_predictions=33", "seq_len=32"),
    ),
    Mistake("mask rate", "--config.data.masking.mask_rate=2", ("config.data.masking.mask_rate=2",)),
    Mistake("plan", "--config.data.plan.name=pakced", ("config.data.plan.name=", "'packed'?")),
    Mistake("masking", "--config.data.masking.name=spam", ("config.data.masking.name=", "'span'?")),
    Mistake("frame", "--config.data.frame=brt", ("config.data.frame=brt", "bert, roberta")),
    Mistake(
        "a frame that the vocabulary has no tokens for",
        "--config.data.frame=roberta",
        ("the vocabulary", "<s>"),
    ),
    Mistake(
        "a setting of another masking",
        "--config.data.masking.name=causal",
        ("config.data.masking.max_predictions", "is not a setting of 'causal'"),
    ),
    Mistake("weight of nothing", "--config.data.alpha=2", ("config.data.alpha=2", "0 (equal)")),
    Mistake("optimizer", "--config.optimizer.name=lamp", ("'lamp'", "did you mean 'lamb'?")),
    Mistake("schedule", "--config.optimizer.schedule=linaer", ("'linaer'", "'linear'?")),
    Mistake("rate", "--config.optimizer.learning_rate=-1", ("learning_rate=-1",)),
    Mistake("warm-up", "--config.optimizer.warmup_steps=99", ("warmup_steps=99", "36")),
    Mistake("activation", "--config.model.activation=gelo", ("'gelo'", "did you mean 'gelu'?")),
    Mistake("remat", "--config.model.remat=ful", ("'ful'", "did you mean 'full'?")),
    Mistake("dtype", "--config.model.dtype=float16", ("'float16'", "'bfloat16'?")),
    Mistake("family", "--config.model.family=bret", ("'bret'", "did you mean 'bert'?")),
    Mistake("objective", "--config.objective.name=bert", ("'bert'", "bert_pretraining")),
    Mistake("phase", "--config.phases.long.start=2", ("config.phases.long.start=2", "0 <= x < 1")),
    Mistake("held_out", "--config.corpus.held_out=1.5", ("config.corpus.held_out=1.5",)),
]

DATA = [
    Mistake("source", "--config.corpus.source=sample:wiki", ("'sample:wiki'", "text:/path")),
    Mistake(
        "no corpus", "--config.corpus.source=text:{here}/no*.txt", ("{here}/no*.txt", "no file")
    ),
    Mistake(
        "empty corpus",
        "--config.corpus.source=text:{here}/empty.txt",
        ("{here}/empty.txt", "empty"),
        write("empty.txt", ""),
    ),
    Mistake(
        "blank corpus",
        "--config.corpus.source=text:{here}/blank.txt",
        ("{here}/blank.txt",),
        write("blank.txt", "\n \n"),
    ),
    Mistake(
        "latin-1",
        "--config.corpus.source=text:{here}/latin.txt",
        ("{here}/latin.txt", "not UTF-8", "0xe9", "offset 9"),
        write("latin.txt", "text\ncaf\u00e9.\n".encode("latin-1").replace(b"caf", b"cafe")),
    ),
    Mistake(
        "too little text",
        "--config.corpus.source=text:{here}/short.txt --config.corpus.held_out=0",
        ("makes", "examples of 32 tokens", "give more text"),
        write("short.txt", "One sentence is here.\n\nAnother one is there.\n"),
    ),
    Mistake(
        "no vocabulary",
        "--config.corpus.vocab_file={here}/no.txt",
        ("config.corpus.vocab_file: there is no vocab.txt at {here}/no.txt",),
    ),
    Mistake(
        "vocabulary without [MASK]",
        "--config.corpus.vocab_file={here}/vocab.txt",
        ("lacks [MASK]",),
        write("vocab.txt", "\n".join([*SPECIAL[:4], "the", "river"]) + "\n"),
    ),
    Mistake(
        "vocabulary of another size",
        "--config.model.vocab_size=299",
        ("config.model.vocab_size=299", "entries; set it to 0"),
    ),
    Mistake("no room for letters", "--config.corpus.vocab_size=3", ("config.corpus.vocab_size=3",)),
    Mistake("no disk space", "", ("no disk space in {here}/workdir", "free"), before=full_disk),
    Mistake("init_from nothing", "--config.init_from={here}/no", ("config.init_from={here}/no",)),
    Mistake(
        "init_from a stranger",
        "--config.init_from={here}/folder",
        ("config.init_from={here}/folder", "notes.txt", "run.json"),
        lambda here: ((here / "folder").mkdir(), (here / "folder/notes.txt").touch()),
    ),
]

WORKDIRS = [
    Mistake("file", "--workdir={here}/text.txt", ("--workdir={here}/text.txt is a file",)),
    Mistake(
        "below a file",
        "--workdir={here}/text.txt/run",
        ("--workdir={here}/text.txt/run", "{here}/text.txt is a file"),
    ),
    Mistake(
        "something else",
        "",
        ("--workdir={here}/workdir", "notes.txt", "name another or empty it"),
        lambda here: ((here / "workdir").mkdir(), (here / "workdir/notes.txt").touch()),
    ),
    Mistake("too long a name", "--workdir={here}/" + "x" * 300, ("xxx", "too long")),
    *[
        Mistake(
            f"run.json {name}",
            "",
            ("workdir/run.json", "not the record of a run"),
            lambda here, text=text: (
                (here / "workdir").mkdir(),
                (here / "workdir/run.json").write_bytes(text),
            ),
        )
        for name, text in {
            "empty": b"",
            "cut": b'{"config": {',
            "a list": b"[1]",
            "of others": b'{"name": "a run of something else"}',
            "with wrong types": b'{"config": 1, "corpus": {}, "parameters": 1, "starts": []}',
            "binary": b"\xff\xfe\x00",
        }.items()
    ],
]

# What the config files of the mistakes above may say; get_config is the tiny one.
HELPERS = """
plain = get_config


def changed(change):
    global get_config

    def get_config():
        config = plain()
        change(config)
        return config


def with_(**values):
    changed(lambda config: config.update(values))


def within(section, **values):
    changed(lambda config: config[section].update(values))


def with_phase(**values):
    changed(lambda config: config.phases.update(values))


def within_phase(**values):
    changed(lambda config: config.phases.long.update(values))


"""


def the_error(ended: verb.Ended) -> str:
    """Checks how it ended; returns the line without its beginning."""
    assert ended.code == cli.USER_ERROR, (ended.code, ended.out, ended.err)
    lines = [line for line in ended.err.splitlines() if not re.fullmatch(PROGRESS, line)]
    assert len(lines) == 1 and ended.err.endswith(f"{lines[0]}\n"), ended.err
    assert lines[0].startswith("error: ")
    assert len(lines[0]) < 600
    return lines[0].removeprefix("error: ")


def left_over(folder: Path) -> set[str]:
    """What lies below the folder, but for prepared corpora that are complete."""
    paths = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    complete = {str(path.parent.relative_to(folder)) for path in folder.rglob("manifest.json")}
    inside = {path for path in paths for done in complete if path.startswith(done)}
    return {path for path in paths - inside if path != "cache" and "__pycache__" not in path}


def all_mistakes() -> list:
    groups = {"flags": FLAGS, "config": CONFIG_FILES, "settings": SETTINGS, "data": DATA}
    groups["workdir"] = WORKDIRS
    return [
        pytest.param(mistake, id=f"{group}: {mistake.name}")
        for group, mistakes in groups.items()
        for mistake in mistakes
    ]


@pytest.mark.parametrize("mistake", all_mistakes())
def test_a_mistake_is_one_line(mistake, tmp_path):
    config = tiny.write_run(tmp_path)
    if mistake.text:
        with (tmp_path / "config.py").open("a") as file:
            file.write(HELPERS + mistake.text + "\n")
    if mistake.prepare:
        mistake.prepare(tmp_path)
    flags = mistake.flags.replace("{here}", str(tmp_path)).split()
    usual = {"--config=": config, "--workdir=": f"--workdir={tmp_path}/workdir"}
    given = [flag for flag in flags if flag.startswith(tuple(usual))]
    begin = [flag for key, flag in usual.items() if not any(f.startswith(key) for f in given)]
    before = left_over(tmp_path)
    ended = verb.forked(
        *given,
        *begin,
        *(flag for flag in flags if flag not in given),
        environment=mistake.environment,
        before=mistake.before,
    )
    error = the_error(ended)
    for words in mistake.says:
        assert words.replace("{here}", str(tmp_path)) in error
    assert left_over(tmp_path) == before


def test_no_flags_at_all():
    assert "--config is missing" in the_error(verb.forked())


def test_overrides_need_a_config_before_them(tmp_path):
    config = tiny.write_run(tmp_path)
    alone = the_error(verb.forked("--config.train.steps=3"))
    assert "--config.train.steps=3" in alone and "--config is missing" in alone
    early = the_error(verb.forked("--config.train.steps=3", config))
    assert "--config.train.steps=3 comes before" in early and "put --config first" in early


def test_a_workdir_of_another_run_is_refused_with_the_differences(reference):
    before = tiny.files(reference.workdir)
    flags = ("--config.seed=4", "--config.model.num_layers=1", "--config.corpus.held_out=0.3")
    flags += ("--config.checkpoint.keep=7",)  # which a run may go on with
    ended = verb.forked(reference.config, f"--workdir={reference.workdir}", *flags)
    error = the_error(ended)
    assert f"--workdir={reference.workdir} holds another run" in error
    assert "seed was 0, is 4" in error
    assert "model.num_layers was 2, is 1" in error
    assert "corpus.held_out was 0.2, is 0.3" in error
    assert "keep" not in error
    assert tiny.files(reference.workdir) == before


def test_a_workdir_of_a_run_on_other_text_is_refused(reference, tmp_path):
    tiny.write_run(tmp_path)
    workdir = tmp_path / "workdir"
    shutil.copytree(reference.workdir, workdir)
    text = Path(reference.workdir).parent / "text.txt"
    # The same settings, down to the name of the file, and another content.
    record = (workdir / "run.json").read_text()
    (workdir / "run.json").write_text(record.replace(str(text.parent), str(tmp_path)))
    with (tmp_path / "text.txt").open("a") as file:
        file.write("\nOne document more.\n")
    before = tiny.files(workdir)
    error = the_error(verb.forked(f"--config={tmp_path}/config.py", f"--workdir={workdir}"))
    assert f"--workdir={workdir} holds another run: " in error
    assert re.search(r"the corpus was '\w{12}', is '\w{12}'", error)
    assert tiny.files(workdir) == before


def test_checkpoints_without_their_run_are_not_taken_over(reference, tmp_path):
    workdir = tmp_path / "workdir"
    shutil.copytree(reference.workdir / "checkpoints", workdir / "checkpoints")
    error = the_error(verb.forked(reference.config, f"--workdir={workdir}"))
    assert "has checkpoints in it and no run.json" in error


@pytest.mark.slow
def test_init_from_another_vocabulary_is_refused(reference, tmp_path):
    config = tiny.write_run(tmp_path)
    words = sorted(set((tmp_path / "text.txt").read_text().lower().split()))
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, *words]) + "\n")
    before = left_over(tmp_path)
    flags = (f"--config.init_from={reference.workdir}", f"--workdir={tmp_path}/workdir")
    own = f"--config.corpus.vocab_file={tmp_path}/vocab.txt"
    error = the_error(verb.forked(config, own, *flags))
    assert f"config.init_from={reference.workdir} was trained with another vocabulary" in error
    assert left_over(tmp_path) == before
    # What the message tells to do helps.
    its_own = re.search(r"--config.corpus.vocab_file=\S+", error)[0]
    few = ("--config.train.steps=2", "--config.optimizer.warmup_steps=1")
    ended = verb.forked(config, its_own, *flags, *few)
    assert ended.code == 0, ended.err
    assert f"from the parameters of {reference.workdir}" in ended.out


def test_init_from_another_model_is_refused(reference, tmp_path):
    flags = (f"--config.init_from={reference.workdir}", f"--workdir={tmp_path}/workdir")
    error = the_error(verb.forked(reference.config, *flags, "--config.model.mlp_size=96"))
    assert "does not fit config.model" in error
    assert not (tmp_path / "workdir").exists()


def test_init_from_a_run_whose_checkpoints_are_gone_is_refused(reference, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(reference.workdir, other)
    shutil.rmtree(other / "checkpoints")
    flags = (f"--config.init_from={other}", f"--workdir={tmp_path}/workdir")
    error = the_error(verb.forked(reference.config, *flags))
    assert f"no intact checkpoint in {other}/checkpoints" in error
    assert not (tmp_path / "workdir").exists()


def test_a_vocabulary_that_is_not_the_one_of_the_store_is_refused(reference, tmp_path):
    record = json.loads((reference.workdir / "run.json").read_text())
    cache = tmp_path / "cache"
    shutil.copytree(Path(record["corpus"]["path"]).parent, cache)
    (vocabulary,) = cache.rglob("vocab.txt")
    lines = vocabulary.read_text().splitlines()
    lines[-1], lines[-2] = lines[-2], lines[-1]
    vocabulary.write_text("\n".join(lines) + "\n")
    flags = (f"--config.corpus.cache_dir={cache}", f"--workdir={tmp_path}/workdir")
    error = the_error(verb.forked(reference.config, *flags))
    assert "is not the one that the tokens were made with" in error
    assert not (tmp_path / "workdir").exists()


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of 24 MB; returns a function that mounts it again, read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"needs the right to mount a file system: {done and done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_may_not_be_written(reference, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    error = the_error(verb.forked(reference.config, f"--workdir={small_disk}/workdir"))
    assert f"--workdir={small_disk}/workdir: no permission to write in {small_disk}" in error


@pytest.mark.slow
def test_a_disk_that_gets_full_during_a_save(reference, small_disk, tmp_path):
    workdir = small_disk / "workdir"
    process = verb.start_forked(reference.config, f"--workdir={workdir}", log=tmp_path / "log")
    while not (workdir / "checkpoints" / "6").exists():
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.01)
    ballast = open(small_disk / "ballast", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        while True:
            ballast.write(bytes(1 << 12))
    assert process.wait(120) == cli.USER_ERROR
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: no space left on the disk; free some and start the same command again"
    ]
    assert said.splitlines()[-1] == errors[0]
    saved = tiny.saved_steps(workdir)
    assert saved and saved[-1] < tiny.STEPS
    names = sorted(os.listdir(workdir / "checkpoints"))
    assert names == sorted(map(str, saved))
    ballast.close()
    os.unlink(small_disk / "ballast")
    ended = verb.forked(reference.config, f"--workdir={workdir}")
    assert ended.code == 0, ended.err
    assert f"Resuming at step {saved[-1]} of" in ended.out
    tiny.assert_same_run(workdir, reference.workdir)
