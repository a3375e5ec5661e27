"""BERT's train step against Hugging Face's, on this machine, in turn.

  python -m tests.peers.bert_step --config=configs/bert.py:base --config.data.batch_size=16 \
      --config.model.dtype=float32 --config.optimizer.name=adamw

Both make full updates in float32: forward, backward, gradient clipping and AdamW, dropout 0.1, the
same shapes, the same number of threads. The peer is BertForPreTraining as it comes, with scaled
dot-product attention and the fused AdamW, the fastest of torch's. It has a process of its own, so
that neither lives with the other's memory allocator.
"""

import multiprocessing
import statistics
import time

import jax
import torch
from absl import flags
from transformers import BertConfig, BertForPreTraining

from plmjax import cli, experiment

CONFIG = cli.define_config_flag()
ROUNDS = flags.DEFINE_integer("rounds", 10, "Timed rounds, a step of each in turn.")


def torch_step(config, batch):
    """A function that makes one update, and how many parameters it updates."""
    model = BertForPreTraining(
        BertConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.mlp_size,
            hidden_act="gelu_new",
            hidden_dropout_prob=config.hidden_dropout,
            attention_probs_dropout_prob=config.attention_dropout,
        )
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    tokens, positions = torch.tensor(batch["tokens"]).long(), batch["masked_positions"]
    labels = torch.full_like(tokens, -100)
    labels.scatter_(1, torch.tensor(positions).long(), torch.tensor(batch["masked_targets"]).long())
    inputs = {
        "input_ids": tokens,
        "token_type_ids": torch.tensor(batch["token_types"]).long(),
        "attention_mask": torch.tensor(batch["attention_mask"]).long(),
        "labels": labels,
        "next_sentence_label": torch.tensor(batch["label"]).long(),
    }

    def step():
        optimizer.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step, sum(p.numel() for p in model.parameters())


def serve(pipe, config, batch):
    """Makes an update for every message, and answers with the loss."""
    step, parameters = torch_step(config, batch)
    pipe.send((parameters, torch.get_num_threads()))
    while pipe.recv():
        pipe.send(step())


def main() -> int:
    settings = experiment.resolved(experiment.read_settings(CONFIG.value), None, None)
    plan = experiment.build(settings)
    host_batch = plan.objective.random_batch(plan.spec, seed=0)
    state, batch = plan.fresh_state(), plan.place(host_batch)
    our_step = plan.compiled_train_step()
    pipe, theirs_end = multiprocessing.Pipe()
    arguments = (theirs_end, experiment.model_config(settings), host_batch)
    multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True).start()
    their_parameters, their_threads = pipe.recv()

    ours, theirs = [], []
    for round_ in range(ROUNDS.value + 2):
        begin = time.perf_counter()
        state, metrics = our_step(state, batch)
        jax.block_until_ready((state, metrics))
        middle = time.perf_counter()
        pipe.send(True)
        their_loss = pipe.recv()
        end = time.perf_counter()
        if round_ >= 2:  # the first compiles, the second settles
            ours.append(middle - begin)
            theirs.append(end - middle)
            print(
                f"round {round_ - 1}: ours {ours[-1]:.3f} s, theirs {theirs[-1]:.3f} s", flush=True
            )
    pipe.send(False)
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    loss = float(metrics["loss"].sum / metrics["loss"].weight)
    print(f"parameters: ours {plan.parameter_count():,}, theirs {their_parameters:,}")
    print(f"losses after {ROUNDS.value + 2} steps: ours (mean) {loss:.3f}, theirs {their_loss:.3f}")
    print(f"step: ours {statistics.median(ours):.3f} s, theirs {statistics.median(theirs):.3f} s")
    print(
        f"ratio theirs/ours, round by round: median {statistics.median(ratios):.2f},"
        f" {ratios[0]:.2f} to {ratios[-1]:.2f}; torch has {their_threads} threads"
    )
    return 0


if __name__ == "__main__":
    cli.run(main, CONFIG, __doc__)
