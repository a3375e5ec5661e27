"""Yuefu and transformers' BERT as a decoder: there and back, and what tells it from the encoder."""

import dataclasses

import numpy as np
import pytest

from plmjax import importing
from plmjax.errors import UserError
from plmjax.exporting import export
from plmjax.huggingface.families import family_of_settings
from plmjax.huggingface.yuefu import FAMILY
from plmjax.loaded import load_model
from plmjax.models.yuefu import PRESETS
from tests.compare import deviation
from tests.huggingface import small

torch, transformers = small.torch, small.transformers
TYPES = "bert.embeddings.token_type_embeddings.weight"
CONFIG = dataclasses.replace(
    PRESETS["base"],
    vocab_size=small.WORDS,
    num_layers=2,
    hidden_size=16,
    num_heads=2,
    mlp_size=64,
    max_positions=40,
    layer_norm_epsilon=1e-2,
)


def quiet(_: str) -> None:
    pass


def saved(folder, types=0.0):
    """Their decoder with random weights, and `types` all over its table of segments."""
    settings = transformers.BertConfig(**FAMILY.to_settings(CONFIG), pad_token_id=0)
    model = small.shuffle(transformers.BertLMHeadModel(settings))
    with torch.no_grad():
        model.bert.embeddings.token_type_embeddings.weight.fill_(types)
    model.save_pretrained(folder)
    small.write_tokenizer(small.vocabulary(), folder, 40)
    return model


def test_a_decoder_of_theirs_is_read_and_written_to_the_bit_and_computes_the_same(tmp_path):
    model = saved(tmp_path / "hf")
    importing.import_model(str(tmp_path / "hf"), str(tmp_path / "run"), quiet)
    tokens_BL = np.random.default_rng(0).integers(5, small.WORDS, (3, 11)).astype(np.int32)
    loaded = load_model(str(tmp_path / "run"))
    backbone, params = loaded.objective.backbone, {"params": loaded.params["backbone"]}
    hidden_BLD = backbone.apply(params, tokens_BL, np.ones_like(tokens_BL), train=False).hidden_BLD
    ours = backbone.apply(params, hidden_BLD, method="logits")[..., : small.WORDS]
    with torch.no_grad():
        theirs = model(torch.from_numpy(tokens_BL).long()).logits
    assert deviation(np.asarray(ours), theirs) <= 1e-5

    export(str(tmp_path / "run"), str(tmp_path / "back"), "", "5GB", "float32", quiet)
    load = transformers.AutoModelForCausalLM.from_pretrained
    back, info = load(tmp_path / "back", output_loading_info=True)
    assert type(back) is transformers.BertLMHeadModel
    assert not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]), info
    state = back.state_dict()
    assert all(torch.equal(state[name], x) for name, x in model.state_dict().items())


def test_segments_that_change_something_are_refused(tmp_path):
    saved(tmp_path / "hf", types=0.5)
    with pytest.raises(UserError, match=f"the tensor {TYPES} is not zero"):
        importing.import_model(str(tmp_path / "hf"), str(tmp_path / "run"), quiet)


@pytest.mark.parametrize(
    ("said", "name"),
    [({"is_decoder": True}, "yuefu"), ({"is_decoder": False}, "bert"), ({}, "bert")],
)
def test_what_reads_from_the_left_is_told_from_an_encoder(said, name):
    assert family_of_settings({"model_type": "bert", **said})[0] == name
