"""Folders that transformers saved become workdirs, and what is wrong with one is a line."""

import dataclasses
import json
import re
import shutil
import sys

import numpy as np
import pytest

from plmjax import experiment, importing
from plmjax.errors import UserError
from plmjax.exporting import export, open_run
from plmjax.huggingface import weights
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.bert import Bert
from plmjax.train.checkpoints import find_damage, newest_state
from plmjax.train.parameters import StoredParameters, nested
from tests.compare import deviation, leaves
from tests.huggingface import small
from tests.requires import need
from tests.run import tiny, verb

torch, transformers = small.torch, small.transformers
numpy_files = need("safetensors.numpy", "pip install -r requirements-ci.txt")
BERTS = [
    case
    for case, (name, _) in small.CONFIGS.items()
    if experiment.FAMILIES[name].module is Bert and case != "nezha"
]
"""Those with its module; the others are in test_classes.py."""
TEXT = "abc def ghij klm. nopq rst uvw xyz"


def imported(folder, workdir):
    said = []
    importing.import_model(str(folder), str(workdir), said.append)
    return said


def params_of(workdir):
    stored = StoredParameters(newest_state(workdir / "checkpoints", ""))
    return {path: stored.read(path) for path in stored.shapes}


def fullest(case):
    classes = small.family_of_case(case).classes
    return "pretraining" if "pretraining" in classes else "language_model"


def byte_bpe():
    return small.trained("roberta", 300, (TEXT,) * 3)


def tokenizer_of(case):
    """One with the padding where the family wants it, and its size."""
    tokenizer = byte_bpe() if "roberta" in case else small.vocabulary()
    return tokenizer, tokenizer.vocab_size


def saved(case, key, folder, **options):
    tokenizer, size = tokenizer_of(case)
    pad = tokenizer.pad_id
    model = small.model(case, key, vocab_size=size, pad_token_id=pad)
    model.save_pretrained(folder, **options)
    small.write_tokenizer(tokenizer, folder, 40)
    return model


@pytest.mark.parametrize("case", BERTS)
def test_every_family_is_imported_to_the_bit_and_computes_the_same(case, tmp_path):
    model = saved(case, fullest(case), tmp_path / "hf")
    said = imported(tmp_path / "hf", tmp_path / "run")
    assert find_damage(tmp_path / "run" / "checkpoints" / "0") is None
    run = open_run(str(tmp_path / "run"), print)
    family = small.family_of_case(case)
    theirs = {name: x.detach().numpy() for name, x in model.state_dict().items()}
    opened = weights.Weights({k: x.shape for k, x in theirs.items()}, theirs.__getitem__)
    named, besides = weights.in_family(opened, family, run.config)
    kept = {name: named.read(name) for name in named.shapes if name not in besides}
    table = family.table(run.config, fullest(case))
    expected = leaves(to_ours(kept, table, shape_of(run.config)))
    found = params_of(tmp_path / "run")
    assert all(found[path].tobytes() == x.tobytes() for path, x in expected.items())
    assert said[0].endswith("at step 0.")
    ids = np.stack([run.tokenizer.encode_batch([TEXT])[0]] * 2)
    ones = np.ones_like(ids)
    backbone = nested(found)["backbone"]
    ours = Bert(run.config).apply({"params": backbone}, ids, 0 * ids, ones, train=False)
    with torch.no_grad():
        hidden = model.base_model(torch.from_numpy(ids).long(), torch.ones(ids.shape).long())
    difference = deviation(ours.hidden_BLD, hidden.last_hidden_state)
    print(case, difference)
    assert difference <= 1e-4
    export(str(tmp_path / "run"), str(tmp_path / "back"), "", "5GB", "float32", print)
    again, info = type(model).from_pretrained(tmp_path / "back", output_loading_info=True)
    # What is no parameter they make themselves.
    assert all(re.search("|".join(family.ignored), name) for name in info["missing_keys"]), info
    again = again.state_dict()
    assert all(torch.equal(again[name], x) for name, x in model.state_dict().items())


@pytest.mark.parametrize("way", ["sharded", "torch", "torch_sharded", "half", "old names", "tied"])
def test_every_form_of_files_gives_the_same_parameters(way, tmp_path, monkeypatch):
    model = small.saved("bert", "pretraining", tmp_path / "hf")
    expected = imported(tmp_path / "hf", tmp_path / "run") and params_of(tmp_path / "run")
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "hf", other)
    state = {name: x.contiguous() for name, x in model.state_dict().items()}
    (other / "model.safetensors").unlink()
    if way == "sharded":
        model.save_pretrained(other, max_shard_size="4KB")
        assert (other / "model.safetensors.index.json").exists()
    elif way == "torch":
        torch.save(state, other / "pytorch_model.bin")
    elif way == "torch_sharded":
        names = sorted(state)
        parts = {"a.bin": names[::2], "b.bin": names[1::2]}
        for file, some in parts.items():
            torch.save({name: state[name] for name in some}, other / file)
        places = {name: file for file, some in parts.items() for name in some}
        index = json.dumps({"weight_map": places})
        (other / "pytorch_model.bin.index.json").write_text(index)
    elif way == "half":
        rounded = {path: x.astype(np.float16) for path, x in expected.items()}
        half = {name: x.numpy().astype(np.float16) for name, x in state.items()}
        numpy_files.save_file(half, other / "model.safetensors")
        expected = {path: x.astype(np.float32) for path, x in rounded.items()}
    elif way == "old names":
        old = {
            re.sub("(LayerNorm).weight", r"\1.gamma", re.sub("(LayerNorm).bias", r"\1.beta", n)): x
            for n, x in state.items()
        }
        old["bert.embeddings.position_ids"] = torch.arange(40)[None]
        torch.save(old, other / "pytorch_model.bin")
    else:
        assert "cls.predictions.decoder.weight" in state
        numpy_files.save_file({n: x.numpy() for n, x in state.items()}, other / "model.safetensors")
    if not way.startswith("torch") and way != "old names":
        monkeypatch.setitem(sys.modules, "torch", None)  # safetensors are read without it
    imported(other, tmp_path / "again")
    found = params_of(tmp_path / "again")
    assert {path: x.tobytes() for path, x in found.items()} == {
        path: x.tobytes() for path, x in expected.items()
    }


def test_heads_that_the_files_lack_are_fresh_and_named(tmp_path):
    model = small.saved("bert", "model", tmp_path / "hf")
    said = imported(tmp_path / "hf", tmp_path / "run")
    assert "Not in the files, so fresh: mlm_head, nsp_head." in said
    found = params_of(tmp_path / "run")
    kernel = found["mlm_head/dense/kernel"]
    assert kernel.std() > 0.01 and not found["mlm_head/output_bias"].any()
    table = found["backbone/token_table/embedding"][: small.WORDS]
    assert np.array_equal(table, model.embeddings.word_embeddings.weight.detach().numpy())


def test_a_pooler_that_a_family_does_not_train_is_left_out_and_named(tmp_path):
    saved("roberta", "model", tmp_path / "hf")
    said = imported(tmp_path / "hf", tmp_path / "run")
    assert "Left out, since a run has no use for them: roberta.pooler.dense." in said


def test_a_tokenizer_smaller_than_the_table_keeps_the_rows(tmp_path):
    small.saved("bert", "pretraining", tmp_path / "hf", small.vocabulary(58))
    said = imported(tmp_path / "hf", tmp_path / "run")
    assert any("58 tokens and the table 60 rows: all rows are kept" in line for line in said)
    assert params_of(tmp_path / "run")["backbone/token_table/embedding"][59].any()
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    settings = dataclasses.replace(
        experiment.Settings(), model=run["config"]["model"], init_from=str(tmp_path / "run")
    )
    assert experiment.resolved(settings, 58, None).model["vocab_size"] == 60
    with pytest.raises(UserError, match="but the tokenizer has 58 entries"):
        experiment.resolved(dataclasses.replace(settings, init_from=""), 58, None)


@dataclasses.dataclass(frozen=True)
class Mistake:
    """config: fields of config.json that change (None: removed). tensors: what changes of them.
    files: their new contents (None: removed). says: what the line has."""

    name: str
    says: tuple[str, ...]
    config: dict = dataclasses.field(default_factory=dict)
    tensors: object = None
    files: dict = dataclasses.field(default_factory=dict)


def drop(name):
    return lambda tensors: tensors.pop(name)


def put(name, shape=(3,)):
    return lambda tensors: tensors.update({name: np.ones(shape, np.float32)})


EMBEDDING = "bert.embeddings.word_embeddings.weight"
QUERY = "bert.encoder.layer.0.attention.self.query.weight"
MISTAKES = [
    Mistake(
        "type", ("model_type='llama'", "there are: albert, bart, bert"), {"model_type": "llama"}
    ),
    Mistake("no type", ("model_type=''",), {"model_type": None}),
    Mistake("activation", ("hidden_act='swiglu'", "does not have"), {"hidden_act": "swiglu"}),
    Mistake("a near activation", ("did you mean 'relu'?",), {"hidden_act": "relu6"}),
    Mistake(
        "type of a field", ("num_hidden_layers='2', expected an int",), {"num_hidden_layers": "2"}
    ),
    Mistake(
        "positions",
        ("position_embedding_type='relative_key'",),
        {"position_embedding_type": "relative_key"},
    ),
    # A decoder is Yuefu, which tells no pairs.
    Mistake("decoder", ("no place for the tensor cls.seq_relationship",), {"is_decoder": True}),
    Mistake("cross", ("add_cross_attention=True",), {"add_cross_attention": True}),
    Mistake(
        "heads", ("hidden_size=16 is not divisible", "num_heads=3"), {"num_attention_heads": 3}
    ),
    Mistake("vocabulary", ("has 60 tokens", "vocab_size=50"), {"vocab_size": 50}),
    Mistake("shape", (EMBEDDING, "(60, 16)", "(70, 16)"), {"vocab_size": 70}),
    Mistake("width", (".query.", "(16, 16)"), {}, put(QUERY, (16, 8))),
    Mistake("layers", ("encoder.layer.2", "is missing"), {"num_hidden_layers": 3}),
    Mistake("missing", (f"the tensor {QUERY} is missing",), {}, drop(QUERY)),
    Mistake(
        "stranger", ("no place for the tensor classifier.weight",), {}, put("classifier.weight")
    ),
    Mistake("strangers", ("tensor a and 1 more",), {}, lambda t: (put("a")(t), put("b")(t))),
    Mistake(
        "untied",
        ("cls.predictions.decoder.weight differs from", "not tied"),
        {},
        put("cls.predictions.decoder.weight", (60, 16)),
    ),
    Mistake("no config", ("has no config.json",), files={"config.json": None}),
    Mistake("config", ("config.json is damaged",), files={"config.json": b"{"}),
    Mistake(
        "no weights", ("has no weights", "model.safetensors"), files={"model.safetensors": None}
    ),
    Mistake(
        "no safetensors", ("no whole safetensors file",), files={"model.safetensors": b"x" * 99}
    ),
    Mistake("empty", ("no whole safetensors file",), files={"model.safetensors": b""}),
    Mistake("cut off", ("is cut off: it has",), files={"model.safetensors": 0.9}),
    Mistake(
        "shard",
        ("lacks m.safetensors",),
        files={
            "model.safetensors": None,
            "model.safetensors.index.json": b'{"weight_map": {"a": "m.safetensors"}}',
        },
    ),
    Mistake(
        "index",
        ("is damaged",),
        files={"model.safetensors": None, "model.safetensors.index.json": b"[]"},
    ),
    Mistake(
        "no torch file",
        ("no file of weights",),
        files={"model.safetensors": None, "pytorch_model.bin": b"PK\x03\x04 not a zip file"},
    ),
    Mistake(
        "no tokenizer",
        ("has no tokenizer", "vocab.txt"),
        files={"vocab.txt": None, "tokenizer.json": None},
    ),
    Mistake("vocab.txt", ("lacks [PAD]",), files={"vocab.txt": b"a\nb\n", "tokenizer.json": None}),
    Mistake(
        "tokenizer_config",
        ("tokenizer_config.json is damaged",),
        files={"tokenizer_config.json": b"{"},
    ),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    small.saved("bert", "pretraining", folder)
    return folder


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_one_line_and_leaves_nothing(mistake, good, tmp_path):
    folder = tmp_path / "hf"
    shutil.copytree(good, folder)
    config = json.loads((folder / "config.json").read_text()) | mistake.config
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    if mistake.tensors:
        tensors = numpy_files.load_file(folder / "model.safetensors")
        mistake.tensors(tensors)
        numpy_files.save_file(tensors, folder / "model.safetensors")
    for name, content in mistake.files.items():
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, float):
            data = (folder / name).read_bytes()
            (folder / name).write_bytes(data[: int(content * len(data))])
        else:
            (folder / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        imported(folder, tmp_path / "run")
    message = str(error.value)
    assert all(text in message for text in mistake.says), message
    assert "\n" not in message and len(message) < 500
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_torch_files_without_torch_name_the_command(good, tmp_path, monkeypatch):
    shutil.copytree(good, tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "hf" / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pip install torch"):
        imported(tmp_path / "hf", tmp_path / "run")


def test_pickles_that_run_code_are_refused(good, tmp_path):
    shutil.copytree(good, tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").unlink()
    torch.save({"a": print}, tmp_path / "hf" / "pytorch_model.bin")
    with pytest.raises(UserError, match="is no file of weights"):
        imported(tmp_path / "hf", tmp_path / "run")


@pytest.mark.slow
def test_training_goes_on_from_an_imported_model(tmp_path):
    """As the import says it: configs/continued.py, a text, a workdir of its own."""
    small.saved("bert", "model", tmp_path / "hf")
    imported(tmp_path / "hf", tmp_path / "run")
    tiny.write_text(tmp_path / "text.txt", 30)
    ended = verb.forked(
        f"--config=configs/continued.py:{tmp_path}/run",
        f"--workdir={tmp_path}/more",
        f"--config.corpus.source=text:{tmp_path}/text.txt",
        f"--config.corpus.cache_dir={tmp_path}/cache",
        "--config.corpus.held_out=0.2",
        "--config.train.steps=2",
        "--config.data.batch_size=4",
        "--config.data.seq_len=32",
        "--config.data.masking.max_predictions=5",
    )
    assert ended.code == 0, ended.err
    assert f"from the parameters of {tmp_path}/run" in ended.out
    moved = params_of(tmp_path / "more")
    before = params_of(tmp_path / "run")
    assert moved.keys() == before.keys()
    changes = [np.abs(moved[path] - before[path]).max() for path in moved]
    assert 0 < max(changes) < 1e-3
    # The same folder is not taken for another run's.
    ended = verb.forked(
        f"--config=configs/continued.py:{tmp_path}/run",
        f"--workdir={tmp_path}/run",
        f"--config.corpus.source=text:{tmp_path}/text.txt",
    )
    assert ended.code == 2 and "holds another run" in ended.err, ended.err
    export(str(tmp_path / "more"), str(tmp_path / "out"), "", "5GB", "float32", print)
    assert transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "out")
