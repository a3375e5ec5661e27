"""XLM in Hugging Face's words."""

from collections.abc import Mapping
from typing import Any

from plmjax.huggingface.encoders import layer_entries
from plmjax.huggingface.family import Family, check_fixed, check_same
from plmjax.huggingface.keys import Entry, norm
from plmjax.models.xlm import Config
from plmjax.nn.stack import subtrees

_PARTS = {
    "attention/query": "attentions.{}.q_lin",
    "attention/key": "attentions.{}.k_lin",
    "attention/value": "attentions.{}.v_lin",
    "attention/output": "attentions.{}.out_lin",
    "attention_norm": "layer_norm1.{}",
    "mlp/in": "ffns.{}.lin1",
    "mlp/out": "ffns.{}.lin2",
    "mlp_norm": "layer_norm2.{}",
}
_FIXED = {
    "asm": False,
    "sinusoidal_embeddings": False,
    "is_encoder": True,
    "tie_word_embeddings": True,
}
"""What they let vary and we do not."""


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of config.json.

    Raises:
      UserError: for what their XLM cannot be: a feed-forward of another width than 4 D, one
        language with a table of its own, what BERT has and XLM has not.
    """
    settings = _FIXED | {
        "vocab_size": config.vocab_size,
        "n_layers": config.num_layers,
        "emb_dim": config.hidden_size,
        "n_heads": config.num_heads,
        "dropout": config.hidden_dropout,
        "attention_dropout": config.attention_dropout,
        "gelu_activation": config.activation == "gelu",
        "layer_norm_eps": config.layer_norm_epsilon,
        "max_position_embeddings": config.max_positions,
        "init_std": config.initializer_range,
        "embed_init_std": config.initializer_range,
        "n_langs": max(config.languages, 1),
        "use_lang_emb": config.languages > 0,
        "causal": config.causal,
    }
    check_same(config, from_settings(settings), "XLM")
    return settings


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config from the fields of config.json.

    Raises:
      UserError: for an adaptive softmax, sinusoids, and an output table that is not tied.
    """
    check_fixed(settings, _FIXED)
    has_languages = settings["use_lang_emb"] and settings["n_langs"] > 1
    return Config(
        vocab_size=settings.get("n_words", settings.get("vocab_size")),  # the first is older
        num_layers=settings["n_layers"],
        hidden_size=settings["emb_dim"],
        num_heads=settings["n_heads"],
        mlp_size=4 * settings["emb_dim"],
        activation="gelu" if settings["gelu_activation"] else "relu",
        hidden_dropout=settings["dropout"],
        attention_dropout=settings["attention_dropout"],
        layer_norm_epsilon=settings["layer_norm_eps"],
        initializer_range=settings["init_std"],
        mask_value=-1e9,
        max_positions=settings["max_position_embeddings"],
        token_types=0,
        languages=settings["n_langs"] if has_languages else 0,
        causal=settings["causal"],
        pooler=False,
        head_transform=False,
    )


def table(config: Config, which: str) -> list[Entry]:
    """The entries of an objective's parameters.

    Args:
      config: of the backbone.
      which: `model` for the backbone alone, `language_model` with the bias of the tied head.
    """
    theirs, root = "transformer", "backbone"
    entries = [
        Entry(f"{root}/token_table/embedding", f"{theirs}.embeddings.weight", "vocab"),
        Entry(f"{root}/position_embedding", f"{theirs}.position_embeddings.weight", "same"),
        *norm(f"{root}/embedding_norm", f"{theirs}.layer_norm_emb"),
    ]
    if config.languages:
        languages = f"{theirs}.lang_embeddings.weight"
        entries.append(Entry(f"{root}/language_embedding", languages, "same"))
    for path, layers in subtrees(config.layers, config.scan).items():
        entries += layer_entries(f"{root}/encoder/{path}", theirs, _PARTS, layers)
    if which == "language_model":
        entries.append(Entry("mlm_head/output_bias", "pred_layer.proj.bias", "vocab"))
    return entries


FAMILY = Family(
    model_type="xlm",
    classes={"model": "XLMModel", "language_model": "XLMWithLMHeadModel"},
    prefix="transformer.",
    to_settings=to_settings,
    from_settings=from_settings,
    table=table,
)
