"""Models loaded from workdirs and from folders of transformers are the same, and asked rightly."""

import json

import jax
import numpy as np
import pytest

from plmjax import importing
from plmjax.errors import UserError
from plmjax.loaded import check_writes, load_model
from plmjax.parallel.mesh import MeshConfig
from plmjax.train.checkpoints import SEAL
from tests.huggingface import small
from tests.huggingface.writers import KINDS, saved

torch = small.torch


def quiet(line):
    del line


def logits_of(loaded, tokens_BL):
    ones = np.ones_like(tokens_BL)
    if loaded.is_seq2seq:
        batch = {"tokens": tokens_BL, "attention_mask": ones, "decoder_tokens": tokens_BL[:, ::-1]}
        return loaded.objective.apply({"params": loaded.params}, batch, method="logits")

    def run(objective, tokens_BL):
        backbone = objective.backbone
        return backbone.logits(backbone(tokens_BL, ones, train=False).hidden_BLD)

    return loaded.objective.apply({"params": loaded.params}, tokens_BL, method=run)


@pytest.mark.parametrize("case", KINDS)
def test_a_folder_and_the_workdir_made_of_it_compute_what_transformers_does(case, tmp_path):
    model, tokenizer = saved(case, tmp_path / "hf")
    importing.import_model(str(tmp_path / "hf"), str(tmp_path / "run"), quiet)
    tokens_BL = np.random.default_rng(0).integers(3, 40, (2, 7), dtype=np.int32)
    given = {"input_ids": torch.tensor(tokens_BL)}
    if KINDS[case] in ("t5", "roberta"):
        given["decoder_input_ids"] = torch.tensor(tokens_BL[:, ::-1].copy())
    with torch.no_grad():
        theirs = model(**given).logits.numpy()
    from_files = load_model(str(tmp_path / "hf"))
    from_run = load_model(str(tmp_path / "run"))
    for loaded in (from_files, from_run):
        check_writes(loaded)
        with loaded.on_mesh():
            ours = np.asarray(logits_of(loaded, tokens_BL))[..., : tokenizer.vocab_size]
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())
        assert loaded.tokenizer.digest == tokenizer.digest
    same = jax.tree.map(np.array_equal, from_files.params, from_run.params)
    assert all(jax.tree.leaves(same))
    assert (from_files.step, from_run.step) == (None, 0)


def test_prompts_are_framed_as_the_family_was_trained(tmp_path):
    for case in ("gpt2", "bart", "t5"):
        _, tokenizer = saved(case, tmp_path / case)
        found, ids = load_model(str(tmp_path / case)).framing, tokenizer.id_of
        if case == "gpt2":
            assert (found.begin, found.end, found.pad) == (ids("eod"), (ids("eod"),), ids("eod"))
            assert found.before == found.after == ()
        if case == "bart":
            assert (found.begin, found.end, found.pad) == (ids("eos"), (ids("eos"),), ids("pad"))
            assert (found.before, found.after) == ((ids("bos"),), (ids("eos"),))
            assert (found.forced_begin, found.forced_end) == (None, ids("eos"))
        if case == "t5":
            assert (found.begin, found.end, found.pad) == (ids("pad"), (ids("eos"),), ids("pad"))
            assert (found.before, found.after) == ((), (ids("eos"),))


def test_generation_config_goes_before_config_and_foreign_ids_are_not_meant(tmp_path):
    saved("bart", tmp_path)
    said = {"eos_token_id": [5, 2], "decoder_start_token_id": 7, "forced_bos_token_id": 0}
    said |= {"pad_token_id": None, "forced_eos_token_id": 50256}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    found = load_model(str(tmp_path)).framing
    assert (found.begin, found.end, found.pad) == (7, (5, 2), 1)
    assert (found.forced_begin, found.forced_end) == (0, None)
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(UserError, match=r"generation_config.json is damaged"):
        load_model(str(tmp_path))


def test_bfloat16_keeps_what_products_read_in_bfloat16(tmp_path):
    saved("gpt2", tmp_path)
    loaded = load_model(str(tmp_path), dtype="bfloat16")
    kinds = {
        path[-1].key: leaf.dtype
        for path, leaf in jax.tree_util.tree_leaves_with_path(loaded.params)
    }
    assert {kinds["kernel"], kinds["embedding"]} == {np.dtype("bfloat16")}
    assert {kinds["bias"], kinds["scale"]} == {np.dtype("float32")}
    assert loaded.objective.backbone.config.dtype == "bfloat16"


def test_what_cannot_be_loaded_is_a_line(tmp_path):
    with pytest.raises(UserError, match=r"--model=\S+none: there is no such folder"):
        load_model(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"neither run.json, .* nor config.json"):
        load_model(str(tmp_path / "empty"))
    small.saved("bert", "pretraining", tmp_path / "bert")
    bert = load_model(str(tmp_path / "bert"))
    with pytest.raises(UserError, match=r"of the family bert, .* name a model of gpt, t5 or bart"):
        check_writes(bert)
    small.saved("bert", "model", tmp_path / "bare")
    with pytest.raises(UserError, match=r"no weights for mlm_head\S*: it was saved without"):
        load_model(str(tmp_path / "bare"))
    with pytest.raises(UserError, match="--dtype='float16' is unknown"):
        load_model(str(tmp_path / "bert"), dtype="float16")
    with pytest.raises(UserError, match=r"config.mesh has data 3, .* 1 devices"):
        load_model(str(tmp_path / "bert"), mesh=MeshConfig(data=3))


def test_a_run_without_a_checkpoint_and_a_damaged_one_say_so(tmp_path):
    saved("gpt2", tmp_path / "hf")
    importing.import_model(str(tmp_path / "hf"), str(tmp_path / "run"), quiet)
    (tmp_path / "run" / "checkpoints" / "0" / SEAL).write_text("{")
    said = []
    with pytest.raises(UserError, match=r"no intact checkpoint in \S+ \(damaged: 0\)"):
        load_model(str(tmp_path / "run"), say=said.append)
    assert "is damaged" in said[0]
    (tmp_path / "run" / "checkpoints" / "0").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"no intact checkpoint .* after its first save"):
        load_model(str(tmp_path / "run"))
