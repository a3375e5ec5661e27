"""Small models of every family, in the files that transformers writes."""

import dataclasses
from pathlib import Path
from typing import Any

from plmjax.data.tokenizers import SPECIAL_TOKENS, WordPiece, train_tokenizer
from plmjax.data.tokenizers.published import write_tokenizer
from plmjax.huggingface.families import FAMILIES
from plmjax.huggingface.family import Family
from plmjax.models import (
    albert,
    bart,
    bert,
    distilbert,
    electra,
    ernie,
    mobilebert,
    modernbert,
    nezha,
    roberta,
    roformer,
    t5,
    xlm,
    xlnet,
)
from plmjax.models.gpt import PRESETS as GPT
from tests.requires import need

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()

WORDS = 60
_SMALL = {"num_layers": 2, "hidden_size": 16, "num_heads": 2, "mlp_size": 64, "vocab_size": WORDS}
# An epsilon that can be seen in the results: one in the wrong place must not pass.
_DISTILBERT = _SMALL | {"max_positions": 40}
_BERT = _DISTILBERT | {"layer_norm_epsilon": 1e-2}
CONFIGS: dict[str, tuple[str, Any]] = {
    "bert": ("bert", dataclasses.replace(bert.PRESETS["base"], **_BERT)),
    "roberta": ("roberta", dataclasses.replace(roberta.PRESETS["base"], **_BERT)),
    "xlm-roberta": ("roberta", dataclasses.replace(roberta.PRESETS["base"], **_BERT)),
    "albert": (
        "albert",
        dataclasses.replace(albert.PRESETS["base"], **(_BERT | {"embedding_size": 12})),
    ),
    "albert-groups": (
        "albert",
        dataclasses.replace(
            albert.PRESETS["base"], **(_BERT | {"embedding_size": 12, "groups": 2, "num_layers": 4})
        ),
    ),
    "electra": (
        "electra",
        dataclasses.replace(electra.PRESETS["small"], **(_BERT | {"embedding_size": 24})),
    ),
    "ernie": ("ernie", dataclasses.replace(ernie.PRESETS["2.0-base"], **_BERT)),
    "ernie-zh": ("ernie", dataclasses.replace(ernie.PRESETS["1.0-base-zh"], **_BERT)),
    "nezha": (
        "nezha",
        dataclasses.replace(nezha.PRESETS["base-zh"], **(_SMALL | {"max_relative": 5})),
    ),
    "distilbert": ("distilbert", dataclasses.replace(distilbert.PRESETS["base"], **_DISTILBERT)),
    "roformer": (
        "roformer",
        dataclasses.replace(roformer.PRESETS["base-zh"], **(_BERT | {"embedding_size": 12})),
    ),
    "gpt2": ("gpt", dataclasses.replace(GPT["gpt2-small"], **_BERT)),
    "openai-gpt": ("gpt", dataclasses.replace(GPT["gpt1"], **_BERT)),
    "xlm": ("xlm", dataclasses.replace(xlm.PRESETS["en"], **_BERT)),
    "xlm-langs": ("xlm", dataclasses.replace(xlm.PRESETS["15-langs"], **_BERT, languages=3)),
    "mobilebert": ("mobilebert", mobilebert.Config(**_BERT, embedding_size=12, bottleneck_size=8)),
    "mobilebert-pooled": (
        "mobilebert",
        mobilebert.Config(
            **_BERT,
            embedding_size=10,
            bottleneck_size=6,
            attention_inputs="bottleneck",
            num_mlps=2,
            norm="layer",
            pooled_dense=True,
        ),
    ),
    "modernbert": (
        "modernbert",
        modernbert.Config(**(_BERT | {"num_layers": 4, "mlp_size": 24}), window=6),
    ),
    "xlnet": ("xlnet", xlnet.Config(**_SMALL)),
    "t5": ("t5", t5.Config(**_SMALL, head_size=6)),
    "t5-untied": (
        "t5",
        t5.Config(**_SMALL, num_decoder_layers=3, gated=True, activation="gelu_tanh", tied=False),
    ),
    "bart": ("bart", bart.Config(**_BERT)),
    "bart-decoder": (
        "bart",
        bart.Config(
            **_BERT,
            num_decoder_layers=3,
            num_decoder_heads=4,
            decoder_mlp_size=24,
            scale_embedding=True,
        ),
    ),
}
"""Our family's name and a config, by case; the case begins with theirs of the family."""


def family_of_case(case: str) -> Family:
    name, _ = CONFIGS[case]
    types = {family.model_type: family for family in FAMILIES[name]}
    return types.get(case) or types[case.partition("-")[0]]


def vocabulary(size: int = WORDS) -> WordPiece:
    letters = [chr(ord("a") + number) for number in range(26)]
    tokens = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    tokens += [f"word{number}" for number in range(size - len(tokens))]
    return WordPiece(tuple(tokens[:size]))


def shuffle(model: Any) -> Any:
    """Random weights that all matter, biases and norms too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise if parameter.ndim > 1 else 1 + 0.3 * noise)
    return model.eval()


def model(case: str, key: str, **settings: Any) -> Any:
    """Their model of a case, random; `key` is one of the family's classes."""
    family, (_, config) = family_of_case(case), CONFIGS[case]
    kind = getattr(transformers, family.classes[key])
    said = {"pad_token_id": 0, **family.to_settings(config), **settings}
    return shuffle(kind(kind.config_class(**said)))


def saved(case: str, key: str, folder: Path, tokenizer: Any = None, **options: Any) -> Any:
    """As `model`, saved by transformers with a tokenizer of ours beside it."""
    made = model(case, key)
    made.save_pretrained(folder, **options)
    write_tokenizer(tokenizer or vocabulary(), folder, 40)
    return made


def trained(kind: str, size: int, texts: tuple[str, ...]) -> Any:
    return train_tokenizer(kind, lambda: texts, size)
