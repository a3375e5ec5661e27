"""Embeddings of sentences as sentence-transformers opens them."""

import json

import numpy as np
import pytest

from plmjax.data.labelled.rows import Row
from plmjax.errors import UserError
from plmjax.exporting import export
from tests.compare import deviation
from tests.huggingface import small
from tests.huggingface.test_heads import TOLERANCE, begun
from tests.requires import need

torch, transformers = small.torch, small.transformers
TEXTS = ["abc word1 klm.", "nopq", "uvw xyz rst", "ghij def"]


def quiet(_: str) -> None:
    pass


def embedded(run) -> np.ndarray:
    """What ours makes of the texts, two at a time."""
    module, form, params, tokenizer = run
    rows = [
        {"sentence1": one, "sentence2": other, "score": 1.0}
        for one, other in zip(TEXTS[::2], TEXTS[1::2], strict=True)
    ]
    examples = [Row(row, "") for row in rows]
    features = form.asked.features(examples, (), tokenizer, form.layout)
    batch = features.arrays(np.arange(len(rows)), form.layout)
    return np.asarray(module.apply({"params": params}, batch, method="units")).reshape(4, -1)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("case", ["bert", "roberta", "xlnet"])
def test_the_files_say_how_an_embedding_is_made(case, pooling, tmp_path):
    """Read as sentence-transformers does; its own reading is below."""
    run = begun(case, "similarity", tmp_path, pooling=pooling)
    export(str(tmp_path / "run"), str(tmp_path / "hf"), "", "5GB", "float32", quiet)
    modules = json.loads((tmp_path / "hf" / "modules.json").read_text())
    assert [x["type"].rpartition(".")[2] for x in modules] == [
        "Transformer",
        "Pooling",
        "Normalize",
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    model = transformers.AutoModel.from_pretrained(tmp_path / "hf").eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state.numpy()
    said = json.loads((tmp_path / "hf" / modules[1]["path"] / "config.json").read_text())
    (mode,) = (key for key, value in said.items() if value is True)
    mask = batch["attention_mask"].numpy()
    places = {
        "pooling_mode_cls_token": np.argmax(mask, axis=1),
        "pooling_mode_lasttoken": mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1),
    }
    if mode == "pooling_mode_mean_tokens":
        found = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    else:
        found = states[np.arange(4), places[mode]]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert deviation(found, embedded(run)) <= TOLERANCE


@pytest.mark.slow
def test_sentence_transformers_makes_the_same(tmp_path):
    library = need("sentence_transformers", "pip install --no-deps sentence-transformers")
    run = begun("bert", "similarity", tmp_path)
    export(str(tmp_path / "run"), str(tmp_path / "hf"), "", "5GB", "float32", quiet)
    model = library.SentenceTransformer(str(tmp_path / "hf"), device="cpu")
    assert deviation(model.encode(TEXTS), embedded(run)) <= TOLERANCE
    assert model.similarity_fn_name == "cosine" and model.max_seq_length == 24


OTHERS = {
    "pooler": (("bert", {"pooling": "pooler"}), "sentence-transformers has no pooling='pooler'"),
    "layers": (("bert", {"layers": "weighted"}), "reads the last layer, and layers='weighted'"),
    "decoder": (
        ("t5", {}),
        "reads an encoder, and these states are the decoder's; --architecture=T5",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_embeddings_are_not_exported(name, tmp_path):
    (case, objective), said = OTHERS[name]
    begun(case, "similarity", tmp_path, **objective)
    with pytest.raises(UserError, match=said):
        export(str(tmp_path / "run"), str(tmp_path / "hf"), "", "5GB", "float32", quiet)
