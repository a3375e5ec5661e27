"""Writes nezha.npz: what transformers 4.57.6, the last with NEZHA, computes.

In an environment of its own, since the tests' transformers has no NEZHA:

  python -m venv nezha && nezha/bin/pip install torch==2.13.0 transformers==4.57.6
  nezha/bin/python tests/parity/golden/make_nezha.py

Three models with random weights: one with a range that is shorter than the rows, one with an odd
number of heads and the exact GELU, one with rows padded in front. All in float32; weights, batch,
outputs and gradients.
"""

import pathlib

import numpy as np
import torch
import transformers

CASES = {
    "short": {
        "vocab_size": 60,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "hidden_act": "gelu_new",
        "max_relative_position": 4,
        "layer_norm_eps": 1e-12,
    },
    "odd": {
        "vocab_size": 47,
        "hidden_size": 18,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "hidden_act": "gelu",
        "max_relative_position": 64,
        "layer_norm_eps": 1e-6,
    },
    "front": {
        "vocab_size": 53,
        "hidden_size": 20,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "intermediate_size": 24,
        "hidden_act": "relu",
        "max_relative_position": 7,
        "layer_norm_eps": 1e-3,
    },
}
SIZE, LENGTH = 3, 14


def make_batch(vocab_size: int, in_front: bool) -> dict[str, np.ndarray]:
    """Rows of 14, 9 and 11 tokens, two segments, two to four targets; padding behind or in front.

    With padding in front the first place, which a pair's label is predicted from, is padding, whose
    row of the table PyTorch gives no gradient; so such rows have no label.
    """
    rng = np.random.default_rng(5)
    lengths = np.array([LENGTH, 9, 11])
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    labels = np.full((SIZE, LENGTH), -100)
    for row, length in enumerate(lengths):
        places = rng.choice(length, 2 + row, replace=False)
        labels[row, places] = rng.integers(1, vocab_size, len(places))
    batch = {
        "input_ids": rng.integers(1, vocab_size, (SIZE, LENGTH)) * mask,
        "attention_mask": mask,
        "token_type_ids": (np.arange(LENGTH) > 5) * mask,
        "labels": labels,
    }
    pairs = np.array([0, 1, 1])
    if in_front:
        for rows in batch.values():
            for row, length in enumerate(lengths):
                rows[row] = np.roll(rows[row], LENGTH - length)
        pairs[lengths < LENGTH] = -100
    return {**batch, "next_sentence_label": pairs}


def compute(fields: dict, in_front: bool) -> dict[str, np.ndarray]:
    """Weights, batch, outputs and gradients of one case, by names with a prefix each."""
    torch.manual_seed(0)
    config = transformers.NezhaConfig(
        **fields,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=32,
        type_vocab_size=2,
    )
    model = transformers.NezhaForPreTraining(config).train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2:
                scale = 0.3 if "embeddings" in name else 1.5 / noise.shape[1] ** 0.5
                parameter.copy_(scale * noise)
            else:
                parameter.copy_(0.3 * noise + ("LayerNorm.weight" in name))
    batch = make_batch(config.vocab_size, in_front)
    tensors = {key: torch.from_numpy(np.asarray(x, np.int64)) for key, x in batch.items()}
    output = model(**tensors, output_hidden_states=True)
    output.loss.backward()
    values = {"loss": output.loss, "logits": output.prediction_logits}
    values |= {f"hidden_{i}": x for i, x in enumerate(output.hidden_states)}
    found = {f"batch/{key}": np.asarray(x, np.int32) for key, x in batch.items()}
    found |= {f"value/{key}": x.detach().numpy() for key, x in values.items()}
    for name, parameter in model.named_parameters():
        found[f"weight/{name}"] = parameter.detach().numpy().copy()
        found[f"gradient/{name}"] = parameter.grad.numpy().copy()
    return found


def main() -> None:
    """Writes the file beside this one."""
    arrays = {
        f"{case}/{key}": array
        for case, fields in CASES.items()
        for key, array in compute(fields, case == "front").items()
    }
    path = pathlib.Path(__file__).with_name("nezha.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
