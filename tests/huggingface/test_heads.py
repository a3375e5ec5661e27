"""Fine-tuned runs as transformers' classes with a head: what these say of texts, and what is told.

The runs have random weights; the texts are read by the tokenizer that is exported.
"""

import dataclasses
import json

import flax.linen as nn
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from plmjax import experiment
from plmjax.data.batch_form import DataConfig
from plmjax.data.labelled.batches import LabelledForm
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.tasks import LABELLED_TASKS
from plmjax.errors import UserError
from plmjax.experiment import Settings, objective_config
from plmjax.exporting import export
from plmjax.finetuning import ACTIVATIONS, OBJECTIVES
from plmjax.huggingface.heads import HEADS
from plmjax.model_card import loader_of
from plmjax.settings import section_of
from plmjax.train.parameters import LazyArray, nested, write_parameters
from plmjax.train.state import boxed_parameters
from plmjax.train.workdir import Workdir
from tests.compare import deviation
from tests.huggingface import small

torch, transformers = small.torch, small.transformers
TOLERANCE = 1e-4
TEXT = "abc def ghij klm. nopq rst uvw xyz"
CLASSES = ("art", "law", "sea")
LENGTH = 24


def tokenizer_of(case):
    """One whose padding is where the family wants it, and which has what its frame needs."""
    if "roberta" in case or case.startswith("bart"):
        return small.trained("roberta", 300, (TEXT,) * 3)
    return small.vocabulary()


def frame_of(case: str) -> str:
    if "roberta" in case or case.startswith("bart"):
        return "roberta"
    return "xlnet" if case == "xlnet" else "bert"


def config_of(case):
    """The model, small and without dropout."""
    name, config = small.CONFIGS[case]
    size = tokenizer_of(case).vocab_size
    off = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
    more = {"mem_len": 0, "reuse_len": 0} if case == "xlnet" else {}
    if case == "mobilebert-pooled":  # some of their norms have this one always
        more["layer_norm_epsilon"] = 1e-5
    config = dataclasses.replace(config, vocab_size=size, **off, **more)
    family = small.family_of_case(case)
    # What theirs cannot say has their value.
    return name, family.from_settings(family.to_settings(config))


def classes_of(task: str) -> tuple[str, ...]:
    return {
        "extraction": ("start", "end"),
        "choice": ("0", "1", "2"),
        "regression": (),
        "similarity": (),
    }.get(task, CLASSES)


def drafted(case: str, task: str, tokenizer, **objective):
    """The settings of a tuned run, the form of its batches, and its objective."""
    name, config = config_of(case)
    more = {"pair": "other"} if task == "classification" else {}
    section = section_of(LABELLED_TASKS, task, "the task", **more)
    if task not in ("tagging", "extraction", "similarity") and "activation" not in objective:
        objective["activation"] = ACTIVATIONS.get(name, "tanh")
    settings = Settings(
        model={"family": name, **dataclasses.asdict(config), "dtype": "float32"},
        objective=objective_config(OBJECTIVES[task], **objective),
        task=section,
        data=DataConfig(seq_len=LENGTH, batch_size=3, frame=frame_of(case)),
    )
    made = LABELLED_TASKS[task](**more)
    form = LabelledForm.of(settings.data, made, len(classes_of(task)), tokenizer)
    return settings, form, experiment.objective_of(settings, form.named)


def begun(case: str, task: str, folder, **objective):
    """A run that was tuned, with random weights; its objective, form and parameters."""
    tokenizer = tokenizer_of(case)
    (folder / "tokenizer").mkdir(parents=True)
    tokenizer.save(folder / "tokenizer")
    settings, form, module = drafted(case, task, tokenizer, **objective)
    shapes = flatten_dict(nn.meta.unbox(boxed_parameters(module, form.spec)), sep="/")
    rng = np.random.default_rng(3)
    params = {path: random(rng, path, leaf.shape) for path, leaf in shapes.items()}
    corpus = {"digest": "", "vocabulary": tokenizer.digest, "path": str(folder / "tokenizer")}
    corpus["classes"] = list(classes_of(task))
    Workdir(folder / "run").begin(dataclasses.asdict(settings), corpus, 1)
    lazy = {
        path: LazyArray(x.shape, False, lambda index, x=x: x if index is None else x[index])
        for path, x in params.items()
    }
    write_parameters(folder / "run" / "checkpoints", nested(lazy))
    return module, form, nested(params), tokenizer


def random(rng, path: str, shape) -> np.ndarray:
    """Weights that all matter, biases and norms too."""
    noise = 0.3 * rng.normal(size=shape).astype(np.float32)
    if path.startswith("task_"):
        noise *= 3
    return noise + 1 if path.endswith("scale") else noise


ROWS = {
    "texts": [
        {"text": "abc word1 klm.", "other": "def", "tokens": ["abc", "word1", "klm", "."]},
        {"text": "nopq", "other": "rst uvw xyz", "tokens": ["nopq"]},
        {"text": "uvw xyz rst", "other": "ghij", "tokens": ["uvw", "xyz", "rst"]},
    ],
    "answers": {"context": "abc def klm", "question": "uvw?", "answers": ["def"], "starts": [4]},
    "choice": {"context": "abc def", "question": "uvw", "options": ["a", "bc xyz", "d"]},
}


def rows_of(task: str) -> list[Row]:
    if task in ("extraction", "choice"):
        given = ROWS["choice" if task == "choice" else "answers"]
        texts = [x["text"] for x in ROWS["texts"]]
        return [Row({**given, "context": text, "label": 1}, "") for text in texts]
    labels = {"classification": "law", "multi_label": ["law", "sea"], "regression": 1.5}
    return [
        Row({**x, "tags": ["law"] * len(x["tokens"]), "label": labels.get(task)}, "")
        for x in ROWS["texts"]
    ]


def ours(module, form, params, tokenizer, task: str) -> tuple[np.ndarray, np.ndarray]:
    """The head's numbers of each feature, and which of its places are text."""
    features = form.asked.features(rows_of(task), classes_of(task), tokenizer, form.layout)
    batch = features.arrays(np.arange(len(features)), form.layout)
    logits = module.apply({"params": params}, batch, method="logits")
    return np.asarray(logits), batch["attention_mask"] > 0


def theirs(folder, task: str, loader: str):
    """The model of a folder; its numbers, and which places are text, as `ours`."""
    model, info = getattr(transformers, loader).from_pretrained(folder, output_loading_info=True)
    missing = {x for x in info["missing_keys"] if "embed_positions" not in x}  # RoFormer's sines
    assert not (missing or info["unexpected_keys"] or info["mismatched_keys"]), info
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = {"padding": "max_length", "max_length": LENGTH, "return_tensors": "pt"}
    rows = [row.fields for row in rows_of(task)]
    if task == "choice":
        firsts = [row["context"] for row in rows for _ in row["options"]]
        seconds = [f"{row['question']} {one}" for row in rows for one in row["options"]]
        batch = tokenizer(firsts, seconds, **given)
        batch = {key: x.reshape(len(rows), -1, LENGTH) for key, x in batch.items()}
    elif task == "extraction":
        batch = tokenizer([x["question"] for x in rows], [x["context"] for x in rows], **given)
    elif task == "classification":
        batch = tokenizer([x["text"] for x in rows], [x["other"] for x in rows], **given)
    else:
        texts = [" ".join(x["tokens"]) if task == "tagging" else x["text"] for x in rows]
        batch = tokenizer(texts, **given)
    with torch.no_grad():
        output = model.eval()(**batch)
    if task == "extraction":
        logits = torch.stack([output.start_logits, output.end_logits], -1)
    else:
        logits = output.logits
    return model, logits.numpy(), batch["attention_mask"].numpy() > 0


TASK_OF = {
    "sequence_classification": ("classification", "multi_label", "regression"),
    "token_classification": ("tagging",),
    "span_extraction": ("extraction",),
    "multiple_choice": ("choice",),
}
CASES = [case for case in small.CONFIGS if case not in ("nezha", "xlm-langs", "t5-untied")]


def pairs():
    """Every case of a family with every task that a class of theirs has, the numbers of classes
    with the first family alone."""
    for case in CASES:
        for objective in HEADS.get(small.family_of_case(case).model_type, {}):
            for task in TASK_OF[objective][: 3 if case == "bert" else 1]:
                yield case, task


@pytest.mark.slow
@pytest.mark.parametrize(("case", "task"), pairs())
def test_theirs_says_what_ours_says(case, task, tmp_path):
    run = begun(case, task, tmp_path)
    head = HEADS[small.family_of_case(case).model_type][OBJECTIVES[task]]
    asked = head.architecture if case == "xlm-roberta" else ""
    words = str(tmp_path / "run"), str(tmp_path / "hf"), asked
    export(*words, "5GB", "float32", lambda line: None)
    loader = loader_of(OBJECTIVES[task], "task")[1]
    model, found, their_mask = theirs(tmp_path / "hf", task, loader)
    assert type(model).__name__ == head.architecture
    expected, mask = ours(*run, task)
    if task in ("tagging", "extraction"):
        found, expected = found[their_mask], expected[mask]
    worst = deviation(found, expected)
    print(case, task, worst)
    assert worst <= TOLERANCE
    assert np.abs(expected).max() > 0.1


def test_the_settings_name_the_classes(tmp_path):
    told = {}
    for task in ("classification", "multi_label", "regression", "tagging", "extraction"):
        begun("bert", task, tmp_path / task)
        words = str(tmp_path / task / "run"), str(tmp_path / task / "hf")
        export(*words, "", "5GB", "float32", lambda line: None)
        told[task] = json.loads((tmp_path / task / "hf" / "config.json").read_text())
    names = {"0": "art", "1": "law", "2": "sea"}
    assert [told[task].get("id2label") for task in told] == [
        *(names, names, {"0": "label"}, names, None),
    ]
    assert told["tagging"]["label2id"] == {"art": 0, "law": 1, "sea": 2}
    assert [told[task].get("problem_type") for task in told] == [
        "single_label_classification",
        "multi_label_classification",
        "regression",
        None,
        None,
    ]
    card = (tmp_path / "tagging" / "hf" / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert "AutoModelForTokenClassification.from_pretrained" in card
    assert "fine-tuned with plmjax" in card


@pytest.mark.slow
def test_a_pipeline_says_the_classes(tmp_path):
    run = begun("bert", "multi_label", tmp_path)
    export(str(tmp_path / "run"), str(tmp_path / "hf"), "", "5GB", "float32", lambda line: None)
    ask = transformers.pipeline("text-classification", str(tmp_path / "hf"), top_k=None)
    logits, _ = ours(*run, "multi_label")
    for row, said in zip(rows_of("multi_label"), logits, strict=True):
        chances = {x["label"]: x["score"] for x in ask([row.fields["text"]])[0]}
        expected = 1 / (1 + np.exp(-said))
        assert deviation([chances[name] for name in CLASSES], expected) <= TOLERANCE


OTHERS = {
    "weighted layers": (
        ("bert", "tagging", {"layers": "weighted"}),
        "BertForTokenClassification reads the last layer, and layers='weighted'"
        "; --architecture=BertModel writes the backbone alone",
    ),
    "a CRF": (
        ("bert", "tagging", {"crf": True}),
        "BertForTokenClassification tells each word's tag by itself, and crf=True",
    ),
    "the mean": (
        ("bert", "classification", {"pooling": "mean"}),
        "BertForSequenceClassification reads the first token, and pooling='mean'",
    ),
    "another activation": (
        ("electra", "classification", {"activation": "tanh"}),
        "ElectraForSequenceClassification has gelu in it, and here is tanh",
    ),
    "another layer": (
        ("xlm", "classification", {"activation": "tanh"}),
        "XLMForSequenceClassification has a head of one layer, and this is one of two layers",
    ),
    "a family without": (
        ("modernbert", "tagging", {}),
        r"\(token_classification\) cannot be exported: no class of transformers' modernbert is",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_they_do_not_compute_is_not_exported(name, tmp_path):
    (case, task, objective), said = OTHERS[name]
    begun(case, task, tmp_path, **objective)
    with pytest.raises(UserError, match=said):
        export(str(tmp_path / "run"), str(tmp_path / "hf"), "", "5GB", "float32", lambda line: None)
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("case", ["roberta", "bert"])
def test_a_layer_on_the_first_token_is_their_pooler_s(case, tmp_path):
    """`pooling=first` has a layer of its own beside the backbone's pooler, which is not read."""
    run = begun(case, "choice", tmp_path, pooling="first")
    export(str(tmp_path / "run"), str(tmp_path / "hf"), "", "5GB", "float32", lambda line: None)
    _, found, _ = theirs(tmp_path / "hf", "choice", "AutoModelForMultipleChoice")
    assert deviation(found, ours(*run, "choice")[0]) <= TOLERANCE


def test_the_backbone_alone_is_written_where_it_is_asked_for(tmp_path):
    begun("modernbert", "tagging", tmp_path)
    lines = []
    words = str(tmp_path / "run"), str(tmp_path / "hf"), "ModernBertModel", "5GB", "float32"
    export(*words, lines.append)
    assert any("Left out, since ModernBertModel has none: the head of the" in x for x in lines)
