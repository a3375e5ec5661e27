"""Batches for the eye and for other programs: decoded, coloured, as JSON, as a digest."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.text import Text

from plmjax.data.flags import SPECIAL, WORD
from plmjax.data.tokenizers import Tokenizer

MASKED, KEPT, REPLACED = "bold green", "bold yellow", "bold red"
LEGEND = Text.assemble(
    ("[word]", MASKED),
    " is predicted and hidden, ",
    ("[word=]", KEPT),
    " predicted and left as it is, ",
    ("[word→other]", REPLACED),
    " predicted where another word stands; spaces part the words that the store knows, ",
    ("┃", "bold magenta"),
    " documents that do not see each other.",
)

Row = Mapping[str, np.ndarray]


def digest(batch: Mapping[str, np.ndarray]) -> str:
    """Hex digest of every key, shape, dtype and byte of a batch."""
    made = hashlib.sha256()
    for key in sorted(batch):
        values = np.ascontiguousarray(batch[key])
        made.update(f"{key} {values.shape} {values.dtype}\0".encode())
        made.update(values.tobytes())
    return made.hexdigest()


def record(row: Row, tokenizer: Tokenizer, **about: Any) -> str:
    """One example as a JSON object: `about`, its decoded `text`, and all its arrays.

    Args:
      row: the example's part of each array of a batch.
      tokenizer: that of the store.
      **about: what else is said of it.
    """
    is_token = row["attention_mask"] > 0
    arrays = {key: np.asarray(values).tolist() for key, values in sorted(row.items())}
    text = tokenizer.decode(row["tokens"][is_token])
    return json.dumps({**about, "text": text, **arrays}, ensure_ascii=False)


def with_added(ids: np.ndarray, tokenizer: Tokenizer, added: Sequence[str]) -> str:
    """The text of ids, those behind the tokenizer's last as the names of a frame's `added`."""
    size, parts = tokenizer.vocab_size, []
    for is_added, run in itertools.groupby(ids.tolist(), lambda token: token >= size):
        some = list(run)
        parts += [f"<{added[i - size]}>" for i in some] if is_added else [tokenizer.decode(some)]
    return " ".join(parts)


def rendered(row: Row, raw: Row, tokenizer: Tokenizer) -> list[Text]:
    """What the model is fed of one example, line by line.

    Args:
      row: the example's part of each array of a batch.
      raw: the same before masking, as `Layout.assemble` makes it.
      tokenizer: that of the store.
    """
    if "decoder_tokens" in row:
        return [
            _joined("reads:  ", row["tokens"][row["attention_mask"] > 0], tokenizer),
            _joined("writes: ", row["decoder_targets"][row["decoder_weights"] > 0], tokenizer),
        ]
    lines = [_with_targets(row, raw, tokenizer)]
    if "ranks" in row:
        places = row["masked_positions"][row["masked_weights"] > 0]
        order = places[np.argsort(row["ranks"][places])]
        first = " ".join(_piece(token, tokenizer) for token in row["tokens"][order[:8]].tolist())
        lines.append(Text(f"predicts {len(order)} tokens in the order: {first} ...", "dim"))
    if "targets" in row:
        wanted = row["targets"][row["weights"] > 0]
        first = tokenizer.decode(wanted[:8])
        lines.append(Text(f"predicts the next token at {len(wanted)} places: {first} ...", "dim"))
    return lines


def _with_targets(row: Row, raw: Row, tokenizer: Tokenizer) -> Text:
    """The row as it was, with what is done to each target."""
    targets = set()
    if "masked_positions" in row:
        targets = set(row["masked_positions"][row["masked_weights"] > 0].tolist())
    segments, prefix = row.get("segment_ids"), row.get("prefix_mask")
    line, length = Text(), int(raw["attention_mask"].sum())
    for place in range(length):
        flag = int(raw["flags"][place])
        special = flag == SPECIAL
        if place and segments is not None and segments[place] != segments[place - 1]:
            line.append(" ┃ ", "bold magenta")
        elif place and (special or flag & WORD or raw["flags"][place - 1] == SPECIAL):
            line.append(" ")
        true, seen = int(raw["tokens"][place]), int(row["tokens"][place])
        if place not in targets:
            style = "dim" if special else "cyan" if prefix is not None and prefix[place] else ""
            line.append(_piece(seen, tokenizer), style)
        elif seen == tokenizer.mask_id or "ranks" in row:  # where it is predicted it is not seen
            line.append(f"[{_piece(true, tokenizer)}]", MASKED)
        elif seen == true:
            line.append(f"[{_piece(true, tokenizer)}=]", KEPT)
        else:
            line.append(f"[{_piece(true, tokenizer)}→{_piece(seen, tokenizer)}]", REPLACED)
    if padding := len(raw["tokens"]) - length:
        line.append(f" + {padding} of padding", "dim")
    return line


def _joined(title: str, ids: np.ndarray, tokenizer: Tokenizer) -> Text:
    """Text with its special tokens coloured."""
    line, special = Text(title, "dim"), set(tokenizer.special_ids)
    run: list[int] = []
    for token in [*ids.tolist(), None]:
        if token is not None and token not in special:
            run.append(token)
            continue
        if run:
            line.append(tokenizer.decode(run) + " ")
            run = []
        if token is not None:
            line.append(tokenizer.vocabulary[token] + " ", MASKED)
    return line


def _piece(token: int, tokenizer: Tokenizer) -> str:
    """A token by itself, without the marks of its form."""
    if token in tokenizer.special_ids:
        return tokenizer.vocabulary[token]
    return tokenizer.decode([token]).removeprefix("##").strip() or tokenizer.vocabulary[token]


def shares(batches: Iterable[tuple[Row, Row]], tokenizer: Tokenizer) -> dict[str, float]:
    """What share of the text is predicted, and how its targets are shown.

    Args:
      batches: batches and what they were before masking.
      tokenizer: that of the store.

    Returns:
      `predicted`, of the tokens of text, and of the predicted `hidden`, `kept` and `replaced`;
      empty where the masking has no slots.
    """
    text, kinds = 0, np.zeros(3, np.int64)
    for batch, raw in batches:
        if "masked_positions" not in batch:
            return {}
        text += int(((raw["attention_mask"] > 0) & (raw["flags"] != SPECIAL)).sum())
        used = batch["masked_weights"] > 0
        seen = np.take_along_axis(batch["tokens"], batch["masked_positions"], axis=1)[used]
        hidden, kept = seen == tokenizer.mask_id, seen == batch["masked_targets"][used]
        if "ranks" in batch:  # those who predict do not see them, see `rendered`
            hidden, kept = np.ones_like(hidden), np.zeros_like(kept)
        kinds += [hidden.sum(), kept.sum(), (~hidden & ~kept).sum()]
    total = max(int(kinds.sum()), 1)
    names = ("hidden", "kept", "replaced")
    return {"predicted": kinds.sum() / max(text, 1)} | dict(
        zip(names, (kinds / total).tolist(), strict=True)
    )
