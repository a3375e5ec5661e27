"""A run's export in transformers: every key, the same ids and the same logits."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from plmjax import exporting, importing
from plmjax.data.tokenizers import load_tokenizer
from plmjax.errors import UserError
from plmjax.evals.report import FILE as REPORT
from plmjax.exporting import export, open_run
from plmjax.models.bert import Bert
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.train.checkpoints import newest_state
from plmjax.train.parameters import StoredParameters, nested
from tests.compare import deviation, leaves
from tests.huggingface import small
from tests.run import tiny, verb
from tests.run.conftest import reference  # noqa: F401  the run that was never stopped

torch, transformers = small.torch, small.transformers
TOLERANCE = 1e-4
CLASSES = {
    "": ("AutoModelForPreTraining", "BertForPreTraining"),
    "BertForMaskedLM": ("AutoModelForMaskedLM", "BertForMaskedLM"),
    "BertModel": ("AutoModel", "BertModel"),
}


@pytest.fixture(scope="module")
def run(reference):  # noqa: F811
    return reference.workdir


@pytest.fixture(scope="module")
def lines(run):
    text = (run.parent / "text.txt").read_text()
    return [line for line in text.splitlines() if line][:40]


def quiet(_: str) -> None:
    pass


def exported(run, folder, architecture="", size="5GB", dtype="float32"):
    export(str(run), str(folder), architecture, size, dtype, quiet)
    return folder


def params_of(run):
    stored = StoredParameters(newest_state(run / "checkpoints", ""))
    return nested({path: stored.read(path) for path in stored.shapes})


def our_values(run, tokens_BL, mask_BL):
    opened = open_run(str(run), quiet)
    module = BertPretraining(Bert(opened.config))
    every_place = np.broadcast_to(np.arange(tokens_BL.shape[1]), tokens_BL.shape)
    batch = {"tokens": tokens_BL, "token_types": 0 * tokens_BL, "attention_mask": mask_BL}
    batch["masked_positions"] = every_place

    def values(module):
        output = module.backbone(*(batch[k] for k in list(batch)[:3]), train=False)
        pairs = module.nsp_head(output.pooled_BD)
        return output.hidden_BLD, module.masked_logits(batch), pairs

    found = module.apply({"params": params_of(run)}, method=values)
    hidden, logits, pairs = jax.device_get(found)
    return hidden, logits[..., : opened.config.vocab_size], pairs


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("size", ["5GB", "40KB"])
def test_transformers_loads_it_with_nothing_left_over_and_equal_logits(
    run, lines, architecture, size, tmp_path
):
    folder = exported(run, tmp_path / "hf", architecture, size)
    auto, name = CLASSES[architecture]
    model, info = getattr(transformers, auto).from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == name
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), (
        info
    )
    shards = sorted(folder.glob("*.safetensors"))
    assert (
        all(file.stat().st_size < 45_000 for file in shards) if size == "40KB" else len(shards) == 1
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(lines, padding=True, return_tensors="pt")
    own = load_tokenizer(json.loads((run / "run.json").read_text())["corpus"]["path"])
    ids = [[own.cls_id, *ids.tolist(), own.sep_id] for ids in own.encode_batch(lines)]
    mask_BL = batch["attention_mask"].numpy()
    theirs = zip(batch["input_ids"], mask_BL.sum(1), strict=True)
    assert ids == [row[:n].tolist() for row, n in theirs]
    hidden, logits, pairs = our_values(run, batch["input_ids"].numpy(), mask_BL)
    with torch.no_grad():
        output = model(**batch)
    real = mask_BL == 1
    if architecture == "BertModel":
        found = {"hidden": deviation(hidden[real], output.last_hidden_state[real])}
    elif architecture:
        found = {"logits": deviation(logits[real], output.logits[real])}
    else:
        found = {"logits": deviation(logits[real], output.prediction_logits[real])}
        found["pairs"] = deviation(pairs, output.seq_relationship_logits)
    print(architecture or "default", size, found)
    assert max(found.values()) <= TOLERANCE


def test_what_transformers_reports_for_a_class_with_fewer_heads(run, tmp_path):
    """As README says it: nothing is missing, and what the class has not is named."""
    folder = exported(run, tmp_path / "hf")
    heads = {f"cls.predictions.{x}" for x in ("bias", "transform.dense.weight")}
    _, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and heads < set(info["unexpected_keys"])
    assert all(name.startswith("cls.") for name in info["unexpected_keys"])
    _, info = transformers.AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert set(info["unexpected_keys"]) == {
        *("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
        *("cls.seq_relationship.weight", "cls.seq_relationship.bias"),
    }


def test_there_and_back_is_the_same_to_the_bit(run, tmp_path):
    folder = exported(run, tmp_path / "hf")
    importing.import_model(str(folder), str(tmp_path / "back"), quiet)
    ours, back = leaves(params_of(run)), leaves(params_of(tmp_path / "back"))
    # Rows that only pad the vocabulary have no place there, and are zero in a fresh run.
    assert ours.keys() == back.keys()
    for path in ours:
        size = 197 if "embedding" in path and "token_table" in path else None
        assert np.array_equal(ours[path][:size], back[path][:size]) or path.endswith("output_bias")
    again = exported(tmp_path / "back", tmp_path / "again")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "vocab.txt"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_bfloat16_is_what_transformers_makes_of_it(run, tmp_path):
    folder = exported(run, tmp_path / "hf", dtype="bfloat16")
    whole = exported(run, tmp_path / "whole")
    model = transformers.AutoModelForPreTraining.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    expected = transformers.AutoModelForPreTraining.from_pretrained(whole, dtype=torch.bfloat16)
    for (name, x), (_, y) in zip(
        model.named_parameters(), expected.named_parameters(), strict=True
    ):
        assert torch.equal(x, y), name


def test_the_card_says_what_the_run_was(run, tmp_path):
    card = (exported(run, tmp_path / "hf") / "README.md").read_text()
    record = json.loads((run / "run.json").read_text())
    report = json.loads((run / REPORT).read_text())
    score = report["scores"]["this model"]["mlm_loss"]
    for text in (
        "library_name: transformers",
        'AutoModelForPreTraining.from_pretrained("hf")',
        record["corpus"]["digest"],
        f"{tiny.STEPS} of {tiny.STEPS} steps",
        "optimizer `lamb`, learning rate 0.01",
        f"{score:.4f}",
    ):
        assert text in card, text


def test_a_runs_own_pieces_are_read_layer_by_layer(run):
    """A checkpoint that stores arrays in pieces gives the same parameters."""
    stored = StoredParameters(newest_state(run / "checkpoints", ""))
    path = next(path for path in stored.shapes if path.endswith("mlp/in/kernel"))
    whole = stored.read(path)
    assert all(np.array_equal(stored.read(path, i), whole[i]) for i in range(len(whole)))


def damaged(run, folder):
    shutil.copytree(run, folder)
    for step in tiny.saved_steps(folder):
        (folder / "checkpoints" / str(step) / "state" / "manifest.ocdbt").write_bytes(b"")
    return folder


def test_mistakes_are_one_line_each(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    bad = damaged(run, tmp_path / "damaged")
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    record = json.loads((moved / "run.json").read_text())
    record["corpus"]["path"] = str(tmp_path / "nowhere")
    (moved / "run.json").write_text(json.dumps(record))
    to = str(tmp_path / "hf")
    for arguments, says in [
        ((run, tmp_path / "full"), "has files in it; name another folder or empty it"),
        ((run, tmp_path / "file"), "is a file; name a folder"),
        ((run, "gs://bucket/hf"), "is remote; name a local folder"),
        ((run, ""), "--to_huggingface= is empty"),
        ((tmp_path / "none", to), "is not the workdir of a run: it has no run.json"),
        ((tmp_path / "full", to), "notes.txt in it and no run.json"),
        ((bad, to), "no intact checkpoint in"),
        ((moved, to), "put its tokenizer's files into"),
        ((run, to, "BertForMaskedLN"), "did you mean 'BertForMaskedLM'?"),
        ((run, to, "", "5"), "--max_shard_size=5 is no size"),
        ((run, to, "", "5GB", "float16"), "--dtype='float16' is unknown"),
    ]:
        with pytest.raises(UserError) as error:
            export(*map(str, arguments), *("", "5GB", "float32")[len(arguments) - 2 :], quiet)
        assert says in str(error.value), error.value
        assert "\n" not in str(error.value)
    assert not (tmp_path / "hf").exists()


def test_a_full_disk_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.safetensors, "lay_out", full)
    with pytest.raises(UserError, match="no space left on the disk"):
        exported(run, tmp_path / "hf")
    assert list(tmp_path.iterdir()) == []


def test_roberta_needs_the_padding_where_its_positions_begin(run, tmp_path):
    opened = open_run(str(run), quiet)
    record = json.loads(json.dumps(opened.record))
    record["config"]["model"]["family"] = "roberta"
    config = dataclasses.replace(
        opened.config, first_position=2, token_types=1, pooler=False, layer_norm_epsilon=1e-5
    )
    other = dataclasses.replace(opened, record=record, config=config)
    family, _ = exporting._family(other, "RobertaForMaskedLM")
    with pytest.raises(UserError, match=r"config\.model\.first_position=1"):
        exporting.config_json(other, family, "RobertaForMaskedLM", "float32")


def test_the_verb(run, tmp_path):
    ended = verb.forked(
        f"--workdir={run}", f"--to_huggingface={tmp_path}/hf", verb="export", folder=tmp_path
    )
    assert ended.code == 0, ended.err
    assert "BertForPreTraining, 27,495 parameters, of step 36" in ended.out
    for flags, says in [
        ([f"--workdir={run}"], "--to_huggingface=FOLDER or --from_huggingface=FOLDER, not neither"),
        (["--to_huggingface=x"], "--workdir is missing"),
        (["--to_hugingface=x"], "did you mean 'to_huggingface'?"),
        (["--from_huggingface=x", "--workdir=y", "--dtype=bfloat16"], "--dtype is for"),
    ]:
        ended = verb.forked(*flags, verb="export", folder=tmp_path)
        assert ended.code == 2 and says in ended.err, ended.err
        assert ended.err.startswith("error: ") and ended.err.count("\n") == 1
