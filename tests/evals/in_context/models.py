"""Small models with tokenizers that read any text, in the files that transformers writes."""

import functools
from pathlib import Path
from typing import Any

from plmjax.asking import Model
from plmjax.data.tokenizers import train_tokenizer
from plmjax.data.tokenizers.published import write_tokenizer
from plmjax.loaded import load_model
from tests.huggingface.small import shuffle, torch, transformers

WORDS = "the cat sat on a mat and ate one fish; why? what is two plus three: five. 猫坐在垫子上。"
TEXTS = tuple(f"{WORDS} {number}\n\n{WORDS.upper()}" for number in range(40))
CONTEXT = 128


@functools.cache
def tokenizer(kind: str) -> Any:
    return train_tokenizer(kind, lambda: TEXTS, {"gpt2": 330, "wordpiece": 140, "t5": 180}[kind])


def gpt(folder: Path) -> Any:
    """A GPT-2 of random weights, saved with its tokenizer; returns their model."""
    size = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT}
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    tokens = tokenizer("gpt2")
    ids = {f"{role}_token_id": tokens.id_of(role) for role in ("bos", "eos")}
    settings = transformers.GPT2Config(vocab_size=tokens.vocab_size, **size, **ids)
    return _saved(transformers.GPT2LMHeadModel(settings), tokens, folder)


def bert(folder: Path) -> Any:
    """A BERT of random weights, saved with its tokenizer; returns their model."""
    tokens = tokenizer("wordpiece")
    settings = transformers.BertConfig(
        vocab_size=tokens.vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokens.pad_id,
    )
    return _saved(transformers.BertForMaskedLM(settings), tokens, folder)


def t5(folder: Path) -> Any:
    """A T5 of random weights, saved with its tokenizer; returns their model."""
    tokens = tokenizer("t5")
    settings = transformers.T5Config(
        vocab_size=tokens.vocab_size,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        pad_token_id=tokens.pad_id,
        decoder_start_token_id=tokens.pad_id,
        eos_token_id=tokens.eos_id,
    )
    return _saved(transformers.T5ForConditionalGeneration(settings), tokens, folder)


def _saved(model: Any, tokens: Any, folder: Path) -> Any:
    torch.manual_seed(0)
    made = shuffle(model)
    made.save_pretrained(folder)
    write_tokenizer(tokens, folder, CONTEXT)
    return made


def opened(folder: Path, rows: int = 4) -> Model:
    return Model(load_model(str(folder)), rows)
