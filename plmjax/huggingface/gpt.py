"""Key tables of GPT-1 and GPT-2, whose Conv1D kernels are [in, out] and have Q, K and V in one."""

from plmjax.huggingface.keys import Entry, Layers, norm
from plmjax.models.gpt import Config
from plmjax.nn.stack import subtrees

_GPT1 = {"tokens": "tokens_embed", "positions": "positions_embed", "layer": "h.{}"}
_GPT2 = {"tokens": "wte", "positions": "wpe", "layer": "h.{}"}


def table(config: Config, root: str = "") -> list[Entry]:
    """The entries of the model with its tied head; ours lie below `root`."""
    names = _GPT2 if config.norm_first else _GPT1
    entries = [
        Entry(f"{root}token_table/embedding", f"transformer.{names['tokens']}.weight", "vocab"),
        Entry(f"{root}position_embedding", f"transformer.{names['positions']}.weight", "same"),
    ]
    theirs = f"transformer.{names['layer']}"
    for path, layers in subtrees(config.layers, config.scan).items():
        entries += _layer(f"{root}decoder/{path}", theirs, layers)
    if config.norm_first:
        entries += norm(f"{root}final_norm", "transformer.ln_f")
    return entries


def _layer(ours: str, theirs: str, layers: Layers) -> list[Entry]:
    entries = []
    for number, name in enumerate(("query", "key", "value")):
        path, part = f"{ours}/attention/{name}", (number, 3)
        fused = f"{theirs}.attn.c_attn"
        entries.append(Entry(f"{path}/kernel", f"{fused}.weight", "split_heads", layers, part))
        entries.append(Entry(f"{path}/bias", f"{fused}.bias", "head_bias", layers, part))
    joined = f"{ours}/attention/output/kernel"
    entries.append(Entry(joined, f"{theirs}.attn.c_proj.weight", "join_heads", layers))
    kept = {
        "attention/output/bias": "attn.c_proj.bias",
        "mlp/in/kernel": "mlp.c_fc.weight",
        "mlp/in/bias": "mlp.c_fc.bias",
        "mlp/out/kernel": "mlp.c_proj.weight",
        "mlp/out/bias": "mlp.c_proj.bias",
    }
    entries += [Entry(f"{ours}/{a}", f"{theirs}.{b}", "same", layers) for a, b in kept.items()]
    for path, name in (("attention_norm", "ln_1"), ("mlp_norm", "ln_2")):
        entries += norm(f"{ours}/{path}", f"{theirs}.{name}", layers)
    return entries
