"""Every class of every family: imported, exported again and loaded by transformers."""

import json
import re

import numpy as np
import pytest

from plmjax import importing
from plmjax.errors import UserError
from plmjax.exporting import export, open_run
from plmjax.model_card import loader_of
from tests.compare import deviation
from tests.huggingface import small
from tests.requires import need

torch, transformers = small.torch, small.transformers
TOLERANCE = 1e-5
CASES = [case for case in small.CONFIGS if case != "nezha"]  # which transformers 5 has not
TEXT = "abc def ghij klm. nopq rst uvw xyz"
NO_POOLER = ("roberta", "xlm-roberta")
"""Whose bare classes have a pooler, and whose runs have none, as the published pretraining."""


def quiet(_: str) -> None:
    pass


def tokenizer_of(case):
    """One with the padding where the family wants it."""
    is_roberta = "roberta" in case
    return small.trained("roberta", 300, (TEXT,) * 3) if is_roberta else small.vocabulary()


def fullest(case):
    classes = small.family_of_case(case).classes
    return "pretraining" if "pretraining" in classes else "language_model"


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """By case: their model with all heads, and the workdir that it became."""
    made = {}

    def get(case):
        if case not in made:
            folder, tokenizer = tmp_path_factory.mktemp(case), tokenizer_of(case)
            sizes = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_id}
            model = small.model(case, fullest(case), **sizes)
            if case == "t5-untied":  # new ones are tied there, whatever the config says
                rows = torch.randn(model.shared.weight.shape, generator=torch.manual_seed(2))
                model.lm_head.weight = torch.nn.Parameter(rows)
            model.save_pretrained(folder / "hf")
            small.write_tokenizer(tokenizer, folder / "hf", 40)
            importing.import_model(str(folder / "hf"), str(folder / "run"), quiet)
            made[case] = model, folder / "run"
        return made[case]

    return get


def arguments(case, size):
    """A batch with padding behind, and in front of none; for two stacks a target too."""
    random = np.random.default_rng(0)
    mask_BL = np.arange(11) < np.array([11, 7, 9])[:, None]
    tokens_BL = np.where(mask_BL, random.integers(5, size, (3, 11)), tokenizer_of(case).pad_id)
    arrays = {"input_ids": tokens_BL, "attention_mask": mask_BL}
    if small.family_of_case(case).decoder_starts:
        arrays["decoder_input_ids"] = random.integers(5, size, (3, 6))
    if case == "xlm-langs":
        arrays["langs"] = random.integers(3, size=(3, 11))
    return {name: torch.from_numpy(np.asarray(x, np.int64)) for name, x in arrays.items()}


def their_own(case, key, model):
    """The class of their own with the tensors of the whole model."""
    family = small.family_of_case(case)
    if type(model).__name__ == family.classes[key]:
        return model
    state = model.state_dict()
    if key == "model":
        state = {name.removeprefix(family.prefix): x for name, x in state.items()}
    own = getattr(transformers, family.classes[key])(model.config)
    own.load_state_dict(state, strict=False)
    return own.eval()


@pytest.mark.parametrize(
    ("case", "key"),
    [
        (case, key)
        for case in CASES
        for key in small.family_of_case(case).classes
        if key != "discriminator"  # of runs that have one: tests/run/test_electra.py
    ],
)
def test_a_class_comes_back_whole(case, key, imported, tmp_path):
    model, workdir = imported(case)
    family = small.family_of_case(case)
    name = family.classes[key]
    export(str(workdir), str(tmp_path / "hf"), name, "5GB", "float32", quiet)
    objective = open_run(str(workdir), quiet).record["config"]["objective"]["name"]
    auto = getattr(transformers, loader_of(objective, key)[1])
    found, info = auto.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert type(found).__name__ == name
    has_no_pooler = case in NO_POOLER and key == "model"
    missing = {x for x in info["missing_keys"] if not (has_no_pooler and "pooler" in x)}
    # Constants, such as RoFormer's sines, they make themselves; compared below.
    missing = {x for x in missing if not any(re.search(said, x) for said in family.ignored)}
    assert not (missing or info["unexpected_keys"] or info["mismatched_keys"]), info
    expected = their_own(case, key, model)
    tensors = found.state_dict()
    assert tensors.keys() == expected.state_dict().keys()
    for tensor, x in expected.state_dict().items():
        if not (has_no_pooler and "pooler" in tensor):
            assert tensors[tensor].numpy().tobytes() == x.numpy().tobytes(), tensor
    batch = arguments(case, model.config.vocab_size)
    with torch.no_grad():
        ours, theirs = found.eval()(**batch), expected(**batch)
    compared = [k for k, x in theirs.items() if isinstance(x, torch.Tensor) and x.ndim > 1]
    compared = [k for k in compared if not (has_no_pooler and k == "pooler_output")]
    worst = max(deviation(ours[k], theirs[k]) for k in compared)
    print(case, name, compared, worst)
    assert compared and worst <= TOLERANCE


@pytest.mark.parametrize("case", ["t5", "bart", "gpt2", "xlnet"])
def test_the_card_and_the_settings_say_how_to_load_and_start_it(case, imported, tmp_path):
    _, workdir = imported(case)
    export(str(workdir), str(tmp_path / "hf"), "", "5GB", "float32", quiet)
    card = (tmp_path / "hf" / "README.md").read_text()
    names = {"t5": "seq2seq_lm", "bart": "seq2seq_lm", "gpt2": "causal_lm"}
    assert f"steps of the objective `{names.get(case, 'permutation_lm')}`" in card
    auto = "AutoModelForSeq2SeqLM" if names.get(case) == "seq2seq_lm" else "AutoModelForCausalLM"
    assert f"{auto}.from_pretrained" in card and "fill-mask" not in card
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    tokenizer = open_run(str(workdir), quiet).tokenizer
    starts = {"t5": tokenizer.pad_id, "bart": tokenizer.sep_id}
    assert config.get("decoder_start_token_id") == starts.get(case)


def rewritten(workdir, folder, change):
    """The run's export with its tensors changed."""
    numpy_files = need("safetensors.numpy", "pip install -r requirements-ci.txt")
    export(str(workdir), str(folder), "", "5GB", "float32", quiet)
    tensors = numpy_files.load_file(folder / "model.safetensors")
    change(tensors)
    numpy_files.save_file(tensors, folder / "model.safetensors")
    return str(folder)


SHARED = {
    "t5": ("shared.weight", ("lm_head.weight", "encoder.embed_tokens.weight")),
    "bart": ("model.shared.weight", ("lm_head.weight", "model.decoder.embed_tokens.weight")),
    "xlnet": ("transformer.word_embedding.weight", ("lm_loss.weight",)),
    "xlm": ("transformer.embeddings.weight", ("pred_layer.proj.weight",)),
    "mobilebert": (
        "mobilebert.embeddings.word_embeddings.weight",
        ("cls.predictions.decoder.weight",),
    ),
    "modernbert": ("model.embeddings.tok_embeddings.weight", ("decoder.weight",)),
    "gpt2": ("transformer.wte.weight", ("lm_head.weight",)),
}
"""The token table of each family, and copies of it that files may have."""


@pytest.mark.parametrize("case", SHARED)
def test_copies_of_the_token_table_are_known_and_others_are_refused(case, imported, tmp_path):
    (table, copies), workdir = SHARED[case], imported(case)[1]

    def copied(tensors):
        tensors.update({name: tensors[table] for name in copies})

    def changed(tensors):
        tensors.update({copies[0]: tensors[table] + 1})

    folder = rewritten(workdir, tmp_path / "copied", copied)
    importing.import_model(folder, str(tmp_path / "run"), quiet)
    folder = rewritten(workdir, tmp_path / "changed", changed)
    with pytest.raises(UserError, match=f"tensor {copies[0]} differs from {table}"):
        importing.import_model(folder, str(tmp_path / "no"), quiet)


def test_an_output_table_of_its_own_is_kept_where_the_model_has_one(imported):
    model, workdir = imported("t5-untied")
    read = open_run(str(workdir), quiet).parameters.read
    rows = model.lm_head.weight.detach().numpy()
    assert np.array_equal(read("backbone/head/embedding")[: len(rows)], rows)
    assert not np.array_equal(rows, model.shared.weight.detach().numpy())


def test_barts_bias_of_logits_must_be_zero(imported, tmp_path):
    _, workdir = imported("bart")

    def put(value):
        return lambda x: x.update(final_logits_bias=np.full((1, small.WORDS), value, np.float32))

    folder = rewritten(workdir, tmp_path / "zeros", put(0))
    importing.import_model(folder, str(tmp_path / "run"), quiet)
    folder = rewritten(workdir, tmp_path / "ones", put(1))
    with pytest.raises(UserError, match="final_logits_bias is not zero"):
        importing.import_model(folder, str(tmp_path / "no"), quiet)
