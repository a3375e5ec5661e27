"""Cases of input: a plan, a masking and a mixture, with drawn settings, seed and step.

As a program it prints the digest of each case's batch, for comparison with another process:

    python -m tests.data.elastic FOLDER < cases.json
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from plmjax.data.batch_form import DataConfig, masking_config, plan_config
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import MASKINGS
from plmjax.data.pipeline import Input
from plmjax.data.plans import FRAMES, PLANS
from plmjax.data.store import token_counts
from tests.data.stores import Stores, open_stores

PLAN_CHANGES = {
    "sentence_pairs": [{}, {"dupe_factor": 2}, {"next_sentence": False}, {"short_seq_prob": 1.0}],
    "sentence_order": [{}, {"dupe_factor": 3}],
    "sentence_distance": [{}, {"dupe_factor": 1}],
    "sentence_reordering": [{}, {"most_segments": 4}],
    "multi_task": [{}, {"tasks": "knowledge:3,distance:0,pairs:1"}],
    "electra_segments": [{}, {"dupe_factor": 2}, {"short_prob": 0.0}],
    "full_sentences": [{}, {"separate": False}],
    "doc_sentences": [{}],
    "blocks": [{}, {"isolate": True}, {"overlap": 1}],
    "packed": [{}],
    "streams": [{}, {"bi_data": True}, {"reuse_len": 7}],
    "translation": [{}, {"longest": 12}],
}
MIXTURES = ("one", "weights", "alpha")
REWRITING = ("span_corruption", "denoising")


def fits(plan: str, masking: str) -> bool:
    """Whether they go together: what rewrites rows cannot tell packed documents apart.

    Of streams, which one masking is for, a few are enough.
    """
    if plan == "streams":
        return masking in ("token", "permutation", "prefix")
    return plan != "packed" or masking not in REWRITING


COMBINATIONS = [(plan, masking) for plan in PLANS for masking in MASKINGS if fits(plan, masking)]


def plan_changes(plan: str, masking: str) -> list[dict[str, Any]]:
    """Settings of a plan that a masking goes together with."""
    changes = PLAN_CHANGES[plan]
    return [some for some in changes if not (some.get("isolate") and masking in REWRITING)]


def frames_of(plan: str) -> list[str]:
    """The frames that a plan can have."""
    bare = [name for name, frame in FRAMES.items() if not frame.begin and not frame.finish]
    return bare if plan == "blocks" else list(FRAMES)


@dataclasses.dataclass(frozen=True)
class Case:
    """One batch of one input; `plan_changes` and `masking_changes` are fields of theirs."""

    plan: str = "sentence_pairs"
    masking: str = "token"
    mixture: str = "one"
    frame: str = "roberta"
    seq_len: int = 48
    batch_size: int = 8
    seed: int = 0
    step: int = 0
    plan_changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    masking_changes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def splits(self, stores: Stores) -> dict:
        """What the plan can read."""
        return stores.pairs if self.plan == "translation" else stores.text

    def config(self, stores: Stores) -> DataConfig:
        """The settings."""
        table = {"words": stores.similar_words} if self.masking == "similar_word" else {}
        names = list(self.splits(stores))
        weighted = [f"{name}:{x}" for name, x in zip(names, (5, 2.5, 0.75), strict=True)]
        sources = {"one": names[0], "weights": ",".join(weighted), "alpha": ""}
        return DataConfig(
            seq_len=self.seq_len,
            batch_size=self.batch_size,
            frame=self.frame,
            plan=plan_config(self.plan, **self.plan_changes),
            masking=masking_config(self.masking, **table, **self.masking_changes),
            sources=sources[self.mixture],
            alpha=0.5 if self.mixture == "alpha" else 1.0,
        )

    def input(
        self, stores: Stores, host: int = 0, hosts: int = 1, kind: type = Input, **more: int
    ) -> Input:
        """The input of one of so many hosts; `more` as of `Input`."""
        return kind(
            self.splits(stores),
            stores.tokenizer,
            self.config(stores),
            self.seed,
            token_counts=token_counts(list(stores.text.values())),
            process_index=host,
            process_count=hosts,
            **more,
        )

    def part(self, batch: dict, host: int, hosts: int) -> dict:
        """The rows of a global batch that belong to a host."""
        size = self.batch_size // hosts
        return {key: value[host * size : (host + 1) * size] for key, value in batch.items()}


def digest(batch: dict[str, np.ndarray]) -> str:
    """Of every key, shape, dtype and byte."""
    parts = hashlib.sha256()
    for key in sorted(batch):
        parts.update(f"{key} {batch[key].dtype} {batch[key].shape} ".encode())
        parts.update(np.ascontiguousarray(batch[key]).tobytes())
    return parts.hexdigest()


def joined(parts: list[dict]) -> dict:
    """One batch of batches."""
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


class Direct(Input):
    """Makes batches without tf.data, from what `Input` gives to it, and shares traced maskings.

    To trace a masking anew for each input is nearly all of the time that reading one batch takes.
    That tf.data changes nothing is a test of its own.
    """

    def shared(self, functions: dict[tuple, Any]) -> "Direct":
        """Itself, with a masking that is traced once for all inputs that share `functions`."""
        tf, spec, masking = tensorflow(), self.form.layout.spec, self.form.masking
        read = ["tokens", "attention_mask", "flags", "seeds"]
        read += ["segment_ids"] if "segment_ids" in spec else []
        key = (json.dumps(self.config.masking, sort_keys=True), self.config.seq_len, len(read))
        if key not in functions:
            signature = {
                name: tf.TensorSpec([None, *spec[name][0]], spec[name][1]) for name in read
            }
            functions[key] = tf.function(masking.function, [signature], autograph=False)
        traced = functions[key]
        masking = dataclasses.replace(
            masking, function=lambda features: traced({name: features[name] for name in read})
        )
        self.form = dataclasses.replace(self.form, masking=masking)
        return self

    def _run(self, read: Any, start_step: int, stop_step: int | None) -> Iterator[dict]:
        for step in range(start_step, stop_step):
            examples, is_real = read(step)
            features = self._assembled(examples) | {"is_real": is_real.astype(np.float32)}
            tensors = {key: tensorflow().constant(value) for key, value in features.items()}
            yield {key: value.numpy() for key, value in self._masked(tensors).items()}


def main() -> None:
    stores = open_stores(Path(sys.argv[1]))
    cases = [Case(**fields) for fields in json.load(sys.stdin)]
    inputs = [case.input(stores, kind=Direct).shared({}) for case in cases]
    digests = [digest(source.batch(case.step)) for source, case in zip(inputs, cases, strict=True)]
    print(json.dumps(digests))


if __name__ == "__main__":
    main()
