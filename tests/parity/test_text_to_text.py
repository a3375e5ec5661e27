"""Answers in words: rows, loss, gradients and what is written are those of transformers."""

import contextlib
import copy
import dataclasses
import functools
import json
import random

import jax
import numpy as np
import pytest

from plmjax import experiment
from plmjax.data.tokenizers.written import Writing
from plmjax.errors import UserError
from plmjax.experiment import Settings
from plmjax.finetuning import tuned_config
from plmjax.huggingface import families
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.importing import import_model
from plmjax.loaded import load_model
from plmjax.phases import labelled_input
from plmjax.settings import from_config
from plmjax.task_answers import answering
from tests.compare import deviation, gradient_deviations
from tests.huggingface import small
from tests.huggingface.writers import KINDS, saved
from tests.requires import need

torch = small.torch
transformers = need("transformers", "pip install -r requirements-ci.txt")
TOLERANCE = 1e-4
STARTS = {"t5": 0, "bart": 2, "gpt2": None}
SEQ_LEN, TARGET_LEN, ROWS = 26, 10, 12
WORDS = ["abc", "def", "ghij", "klm", "nopq", "rst", "uvw", "xyz"]


def examples() -> list[dict[str, str]]:
    rng = random.Random(5)
    return [
        {
            "a": " ".join(rng.choices(WORDS, k=rng.randint(1, 4))),
            "b": rng.choice(WORDS),
            "said": " ".join(rng.choices(WORDS, k=rng.randint(1, 3))),
        }
        for _ in range(ROWS)
    ]


@contextlib.contextmanager
def sharp(model, broken: list[int]):
    """A model with weights so large, and biases so small, that texts are answered differently; and
    then as it was.

    Tokens of `broken`, parts of characters, are the best nowhere.
    """
    generator, before = torch.Generator().manual_seed(3), copy.deepcopy(model.state_dict())
    tables = ("shared", "embed", "wte", "wpe", "relative")
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if key.endswith("bias") and parameter.ndim == 1:
                parameter.copy_(0.1 * noise)
            if parameter.ndim > 1:
                is_table = any(word in key for word in tables)
                parameter.copy_(noise * (0.6 if is_table else 6.0 / max(parameter.shape) ** 0.5))
            if parameter.ndim > 1 and len(parameter) == model.config.vocab_size:
                parameter[broken] = 0
        yield model
        model.load_state_dict(before)


def source_of(row: dict[str, str]) -> str:
    return f"tell b: {row['b']} a: {row['a']}"


class Case:
    """Ours and theirs of one family, and a set that both read."""

    def __init__(self, case: str, base):
        self.case, start, folder = case, STARTS[case], base / case
        folder.mkdir()
        said = {} if start is None else {"decoder_start_token_id": start}
        self.model, _ = saved(case, folder / "hf", **said)
        self.theirs = transformers.AutoTokenizer.from_pretrained(folder / "hf")
        import_model(str(folder / "hf"), str(folder / "run"), lambda line: None)
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in examples()))
        files = dict.fromkeys(("train", "dev"), str(path))
        task = {"source": "tell b: {b} a: {a}", "target": "{said}", "target_len": TARGET_LEN}
        config = tuned_config(str(folder / "run"), "text_to_text", **files, **task)
        config.data.seq_len, config.data.batch_size = SEQ_LEN, ROWS
        config.model.dtype = "float32"
        self.settings = from_config(Settings, config)
        self.loaded = load_model(str(folder / "run"))

    def plan(self, **task):
        changed = {**self.settings.task, **task}
        settings = dataclasses.replace(self.settings, task=changed)
        corpus = experiment.open_corpus(settings)
        plan = experiment.build(settings, corpus=corpus)
        return plan, labelled_input(plan.phases[0], corpus, corpus.held_out["dev"], 0, (0, 1))

    def ours(self, tensors):
        """Their tensors by our names."""
        config = self.loaded.model
        family, _ = families.family_of(small.CONFIGS[self.case][0], config)
        arrays = {key: x.detach().numpy() for key, x in tensors.items()}
        return to_ours(arrays, family.table(config, "language_model"), shape_of(config))

    def read(self) -> dict[str, np.ndarray]:
        """Input and labels as transformers' own tokenizer makes them."""
        options = {"truncation": True, "padding": "max_length", "return_tensors": "np"}
        if STARTS[self.case] is None:
            return self._as_one()
        given = self.theirs([source_of(row) for row in examples()], max_length=SEQ_LEN, **options)
        targets = [row["said"] for row in examples()]
        labels = self.theirs(text_target=targets, max_length=TARGET_LEN, **options)
        filled = np.where(labels["attention_mask"] == 1, labels["input_ids"], -100)
        return {**given, "labels": filled}

    def _as_one(self) -> dict[str, np.ndarray]:
        end, rows = self.theirs.eos_token_id, []
        for row in examples():
            before = self.theirs(source_of(row))["input_ids"][: SEQ_LEN - TARGET_LEN]
            after = [*self.theirs(row["said"])["input_ids"][: TARGET_LEN - 1], end]
            rows.append((before, after))
        made = {key: np.zeros((ROWS, SEQ_LEN), int) for key in ("input_ids", "attention_mask")}
        made["labels"] = np.full((ROWS, SEQ_LEN), -100)
        made["input_ids"][:] = end
        for number, (before, after) in enumerate(rows):
            length = len(before) + len(after)
            made["input_ids"][number, :length] = before + after
            made["attention_mask"][number, :length] = 1
            made["labels"][number, len(before) : length] = after
        return made


@functools.cache
def made(case: str, folder) -> Case:
    return Case(case, folder)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("text-to-text")


@pytest.fixture(params=STARTS)
def case(request, folder):
    return made(request.param, folder)


def test_rows_are_those_of_transformers_tokenizer(case):
    _, source = case.plan()
    (batch,) = source.evaluation_batches()
    theirs = case.read()
    np.testing.assert_array_equal(batch["attention_mask"], theirs["attention_mask"])
    used = theirs["attention_mask"] == 1
    np.testing.assert_array_equal(batch["tokens"][used], theirs["input_ids"][used])
    name = "decoder_" if STARTS[case.case] is not None else ""
    found = np.where(batch[f"{name}weights"] == 1, batch[f"{name}targets"], -100)
    labels = theirs["labels"]
    if not name:
        labels = np.append(labels[:, 1:], np.full((ROWS, 1), -100), axis=1)
    np.testing.assert_array_equal(found, labels)


def test_loss_and_gradients_equal_transformers(case):
    plan, source = case.plan()
    (batch,) = source.evaluation_batches()
    given = {key: torch.tensor(x) for key, x in case.read().items() if key != "token_type_ids"}
    loss = case.model(**given).loss
    case.model.zero_grad()
    loss.backward()
    theirs = case.ours({key: x.grad for key, x in case.model.named_parameters()})

    def total(params):
        return plan.objective.apply({"params": params}, batch, train=False).total()

    ours, grads = jax.jit(jax.value_and_grad(total))(case.loaded.params)
    assert deviation(ours, loss.item()) <= TOLERANCE
    off = gradient_deviations(grads, theirs)
    assert max(off.values()) <= TOLERANCE, off


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_what_transformers_generates(case, beams):
    plan, source = case.plan(beams=beams)
    is_decoder, given = STARTS[case.case] is None, case.read()
    tokens = range(case.model.config.vocab_size)
    broken = [token for token in tokens if "\ufffd" in case.theirs.decode([token])]
    with sharp(case.model, broken) as model:
        params = case.ours(dict(model.named_parameters()))
        whole = {key: torch.tensor(x) for key, x in given.items() if key != "token_type_ids"}
        loss, texts = answering(plan)(jax.tree.map(np.array, params), source)
        assert loss == pytest.approx(model(**whole).loss.item(), rel=TOLERANCE)
        expected = []
        for ids, mask, labels in zip(*(given[key] for key in KEYS), strict=True):
            read = (mask == 1) & (labels == -100) if is_decoder else mask == 1
            found = written(case, ids[read], beams)[sum(read) if is_decoder else 1 :]
            expected.append(Writing(source.examples.tokenizer, goes_on=is_decoder).text(found))
    assert texts == expected
    assert len(set(texts)) > 2


KEYS = ("input_ids", "attention_mask", "labels")


def written(case: Case, ids: np.ndarray, beams: int) -> list[int]:
    """What their model generates, up to its end."""
    end, pad = case.theirs.eos_token_id, case.theirs.pad_token_id
    options = {"num_beams": beams, "do_sample": False, "max_new_tokens": TARGET_LEN}
    options |= {"eos_token_id": end, "pad_token_id": end if pad is None else pad}
    if KINDS[case.case] == "roberta":
        options |= {"forced_bos_token_id": case.theirs.bos_token_id, "forced_eos_token_id": None}
    prompt = torch.tensor(ids)[None]
    tokens = case.model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    found = tokens[0].tolist()
    # BART's decoder begins with the end.
    return found[: found.index(end, 1)] if end in found[1:] else found


def test_a_target_longer_than_the_decoder(folder):
    case = made("bart", folder)
    longest = case.loaded.model.longest - 1
    with pytest.raises(UserError, match=f"target_len={longest + 1} is longer .* most {longest}"):
        case.plan(target_len=longest + 1)
    case.plan(target_len=longest)
