"""Small models with the weights of transformers' models, and what those generate."""

import codecs
import contextlib
import dataclasses
import functools
import io
from collections.abc import Collection, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from plmjax.families import FAMILIES
from plmjax.huggingface import families
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.objectives.causal_lm import CausalLM
from plmjax.objectives.seq2seq_lm import Seq2SeqLM
from tests.requires import need

with contextlib.redirect_stdout(io.StringIO()):  # it prints itself
    import this

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
torch.set_num_threads(1)

END, PAD = 7, 0
_TINY = {"vocab_size": 61, "num_layers": 2, "hidden_size": 32, "num_heads": 4, "mlp_size": 128}
_TINY |= {"hidden_dropout": 0.0, "attention_dropout": 0.0}
_SMALL = {
    "gpt2": ("gpt", "gpt2-small", {"max_positions": 64}),
    "trained": ("gpt", "gpt2-small", {"max_positions": 64}),
    "gpt1": ("gpt", "gpt1", {"max_positions": 64}),
    "t5": ("t5", "small", {"head_size": 8}),
    "t5-untied": ("t5", "v1.1-small", {"head_size": 8}),
    "bart": ("bart", "base", {"max_positions": 66}),
}
CONFIGS = {
    name: dataclasses.replace(FAMILIES[family].presets[preset], **_TINY, **fields)
    for name, (family, preset, fields) in _SMALL.items()
}
BEGIN = {"t5": PAD, "t5-untied": PAD, "bart": END}
"""What the targets of encoder-decoders begin with."""


@functools.cache
def theirs(name: str) -> Any:
    """A torch model with weights so large that no token is the best everywhere."""
    config = CONFIGS[name]
    family, _ = families.family_of(_SMALL[name][0], config)
    torch.manual_seed(0)
    tokens = {"eos_token_id": END, "pad_token_id": PAD, "bos_token_id": 1}
    if name in BEGIN:
        tokens |= {"decoder_start_token_id": BEGIN[name]}
    made = transformers.AutoConfig.for_model(
        family.model_type, **(family.to_settings(config) | tokens), attn_implementation="eager"
    )
    model = getattr(transformers, family.classes["language_model"])(made).eval()
    if name == "t5-untied":  # transformers 5 ties new models always
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                is_scale = ("norm" in key or "ln_" in key) and key.endswith("weight")
                parameter.copy_(0.3 * noise + is_scale)
            elif any(word in key for word in ("shared", "embed", "wte", "wpe", "relative", "head")):
                parameter.copy_(noise * 0.6)
            else:
                parameter.copy_(noise * 2.5 / max(parameter.shape) ** 0.5)
    if name == "trained":
        _train(model)
    model.generation_config = transformers.GenerationConfig(**tokens)
    return model


def _train(model: Any) -> None:
    """Teaches a model with random weights a text, letter by letter."""
    letters = codecs.decode(this.s, "rot13").lower()
    alphabet = sorted(set(letters))
    text = torch.tensor([END + 1 + alphabet.index(letter) for letter in letters])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter * (0.2 if parameter.ndim > 1 else 1.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(150):
        begins = torch.randint(len(text) - 48, (8,), generator=torch.Generator().manual_seed(step))
        rows = torch.stack([text[begin : begin + 48] for begin in begins.tolist()])
        loss = model(rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 2.4, loss  # it knows more than how often letters are


@functools.cache
def ours(name: str, scan: bool = True) -> tuple[nn.Module, Any]:
    """The objective and its parameters, those of `theirs`."""
    config = dataclasses.replace(CONFIGS[name], scan=scan)
    family, _ = families.family_of(_SMALL[name][0], config)
    tensors = {key: x.detach().numpy() for key, x in theirs(name).named_parameters()}
    params = to_ours(tensors, family.table(config, "language_model"), shape_of(config))
    backbone = FAMILIES[_SMALL[name][0]].module(config)
    objective = (Seq2SeqLM if name in BEGIN else CausalLM)(backbone)
    return objective, jax.tree.map(jnp.asarray, params)


def prompts(seed: int = 0, lengths: Sequence[int] = (3, 11, 7, 1)) -> list[list[int]]:
    """Random prompts without special tokens."""
    random = np.random.default_rng(seed)
    return [random.integers(8, 61, length).tolist() for length in lengths]


def generated(name: str, prompt: Sequence[int], mine: Any, **options: Any) -> Any:
    """What transformers makes of one prompt: new tokens up to the end, and scores of beams.

    Args:
      name: of CONFIGS.
      prompt: tokens.
      mine: the same options in our words, for the tokens that end a text.
      options: in theirs.
    """
    model = theirs(name)
    tokens = torch.tensor([list(prompt)])
    with torch.no_grad():
        output = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
    skipped = 1 if name in BEGIN else len(prompt)
    ends = {END, *mine.get("stop_tokens", ())}
    found = [cut(row[skipped:].tolist(), ends) for row in output.sequences]
    scores = output.sequences_scores.tolist() if options.get("num_beams", 1) > 1 else None
    return found, scores


def cut(tokens: list[int], ends: Collection[int]) -> tuple[int, ...]:
    """Up to the first token that ends a text."""
    places = [place for place, token in enumerate(tokens) if token in ends]
    return tuple(tokens[: places[0]] if places else tokens)
