"""Key tables of the encoders that are BERT by other values."""

import dataclasses
from collections.abc import Mapping

from plmjax.huggingface.keys import Entry, Layers, dense, norm
from plmjax.models.bert import Config
from plmjax.nn.stack import subtrees


@dataclasses.dataclass(frozen=True)
class Names:
    """Hugging Face's names of a family's parts.

    Attributes:
      embeddings: prefix of the tables and their norm.
      layer: prefix of a layer, with `{}` for its number (or its group's).
      parts: of a layer: our names to theirs.
      pooler, projection: of those projections.
      head: our names of the language model's head to theirs.
      pair_head: of the label of sentence pairs; empty where there is none.
      discriminator: prefix of the head that tells replaced tokens (ELECTRA).
    """

    embeddings: str
    layer: str
    parts: Mapping[str, str]
    head: Mapping[str, str]
    pooler: str = ""
    projection: str = ""
    pair_head: str = ""
    discriminator: str = ""


_PARTS = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp/in": "intermediate.dense",
    "mlp/out": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
_ALBERT_PARTS = {
    "attention/query": "attention.query",
    "attention/key": "attention.key",
    "attention/value": "attention.value",
    "attention/output": "attention.dense",
    "attention_norm": "attention.LayerNorm",
    "mlp/in": "ffn",
    "mlp/out": "ffn_output",
    "mlp_norm": "full_layer_layer_norm",
}
_DISTILBERT_PARTS = {
    "attention/query": "attention.q_lin",
    "attention/key": "attention.k_lin",
    "attention/value": "attention.v_lin",
    "attention/output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "mlp/in": "ffn.lin1",
    "mlp/out": "ffn.lin2",
    "mlp_norm": "output_layer_norm",
}
_LONGFORMER_PARTS = _PARTS | {
    f"attention/global_{name}": f"attention.self.{name}_global"
    for name in ("query", "key", "value")
}
_BERT_HEAD = {
    "dense": "cls.predictions.transform.dense",
    "norm": "cls.predictions.transform.LayerNorm",
    "output_bias": "cls.predictions.bias",
}

_ROBERTA_HEAD = {
    "dense": "lm_head.dense",
    "norm": "lm_head.layer_norm",
    "output_bias": "lm_head.bias",
}


def _like_bert(prefix: str) -> Names:
    return Names(
        embeddings=f"{prefix}.embeddings",
        layer=f"{prefix}.encoder.layer.{{}}",
        parts=_PARTS,
        head=_BERT_HEAD,
        pooler=f"{prefix}.pooler.dense",
        pair_head="cls.seq_relationship",
    )


FAMILIES = {
    "bert": _like_bert("bert"),
    "ernie": _like_bert("ernie"),
    "nezha": _like_bert("nezha"),
    "roformer": dataclasses.replace(
        _like_bert("roformer"), pooler="", projection="roformer.embeddings_project"
    ),
    "bigbird": dataclasses.replace(_like_bert("bert"), pooler="bert.pooler"),
    "roberta": Names(
        embeddings="roberta.embeddings",
        layer="roberta.encoder.layer.{}",
        parts=_PARTS,
        head=_ROBERTA_HEAD,
        pooler="roberta.pooler.dense",
    ),
    "longformer": Names(
        embeddings="longformer.embeddings",
        layer="longformer.encoder.layer.{}",
        parts=_LONGFORMER_PARTS,
        head=_ROBERTA_HEAD,
        pooler="longformer.pooler.dense",
    ),
    "electra": Names(
        embeddings="electra.embeddings",
        layer="electra.encoder.layer.{}",
        parts=_PARTS,
        head={
            "dense": "generator_predictions.dense",
            "norm": "generator_predictions.LayerNorm",
            "output_bias": "generator_lm_head.bias",
        },
        projection="electra.embeddings_project",
        discriminator="discriminator_predictions",
    ),
    "albert": Names(
        embeddings="albert.embeddings",
        layer="albert.encoder.albert_layer_groups.{}.albert_layers.0",
        parts=_ALBERT_PARTS,
        head={
            "dense": "predictions.dense",
            "norm": "predictions.LayerNorm",
            "output_bias": "predictions.bias",
        },
        pooler="albert.pooler",
        projection="albert.encoder.embedding_hidden_mapping_in",
        pair_head="sop_classifier.classifier",
    ),
    "distilbert": Names(
        embeddings="distilbert.embeddings",
        layer="distilbert.transformer.layer.{}",
        parts=_DISTILBERT_PARTS,
        head={
            "dense": "vocab_transform",
            "norm": "vocab_layer_norm",
            "output_bias": "vocab_projector.bias",
        },
    ),
}
"""By the family's name."""

_TABLES = {
    "position_embedding": "position_embeddings",
    "type_embedding": "token_type_embeddings",
    "task_embedding": "task_type_embeddings",
}


def backbone_table(names: Names, config: Config) -> list[Entry]:
    """The entries of the encoder, with paths below `backbone`.

    Layers are stacked where `config.scan` says so, and by group where they share parameters.
    """
    table, root = names.embeddings, "backbone"
    entries = [
        Entry(f"{root}/token_table/embedding", f"{table}.word_embeddings.weight", "vocab"),
        *norm(f"{root}/embedding_norm", f"{table}.LayerNorm"),
    ]
    rows = (config.position_rows, config.token_types, config.task_types)
    for (ours, theirs), present in zip(_TABLES.items(), rows, strict=True):
        if present:
            entries.append(Entry(f"{root}/{ours}", f"{table}.{theirs}.weight", "same"))
    if config.embedding_width != config.hidden_size:
        entries += dense(f"{root}/embedding_projection", names.projection)
    for path, layers in subtrees(config.layers, config.scan, config.groups).items():
        ours = f"{root}/encoder/{path}"
        entries += layer_entries(ours, names.layer, names.parts, layers, config.scale_scores)
    if config.pooler and names.pooler:
        entries += dense(f"{root}/pooler", names.pooler)
    return entries


def layer_entries(
    ours: str, theirs: str, parts: Mapping[str, str], layers: Layers, scaled: bool = True
) -> list[Entry]:
    """The entries of a layer: norms, projections to and from heads, and other projections.

    Args:
      ours: path of the layer.
      theirs: their prefix of the layer; with `{}` for its number, if that is not in `parts`.
      parts: our names to theirs.
      layers: the layer's number, or those of the layers that are stacked.
      scaled: whether our scores are divided by the root of K, as theirs are.
    """
    entries = []
    for part, name in parts.items():
        path, name = f"{ours}/{part}", f"{theirs}.{name}"
        if part.endswith("norm"):
            entries += norm(path, name, layers)
            continue
        kind = "dense"
        if part.startswith("attention/"):
            kind = "from_heads" if part.endswith("output") else "to_heads"
            if part.endswith("query") and not scaled:
                kind = "to_unscaled_heads"
        entries += dense(path, name, layers, kind)
    return entries


def masked_lm_table(names: Names, config: Config, pairs: bool = False) -> list[Entry]:
    """The entries of the encoder and of the masked language model's head.

    Args:
      names: of the family.
      config: of the backbone.
      pairs: whether there is a head for the label of sentence pairs.
    """
    entries = backbone_table(names, config)
    entries += dense("mlm_head/dense", names.head["dense"])
    entries += norm("mlm_head/norm", names.head["norm"])
    entries.append(Entry("mlm_head/output_bias", names.head["output_bias"], "vocab"))
    if pairs:
        entries += dense("nsp_head", names.pair_head)
    return entries


def discriminator_table(names: Names, config: Config) -> list[Entry]:
    """The entries of the encoder and of ELECTRA's head that tells replaced tokens.

    Args:
      names: of the family.
      config: of the discriminator.
    """
    entries, head = backbone_table(names, config), "discriminator_head"
    entries += dense(f"{head}/dense", f"{names.discriminator}.dense")
    return entries + dense(f"{head}/score", f"{names.discriminator}.dense_prediction")
