"""Batches that grow at the beginning of a run, as GPT-3's.

A step's batch has the rows that a straight line gives, to the row: `rows` at the first token,
`config.data.batch_size` after `tokens` of them. For the sake of compilation the arrays have one of
a few shapes, `multiple_of` times 1, 2, 4, ... rows, and rows beyond those of the step have weight
0. So the ramp is exact on any mesh, a run compiles a handful of programs for it, and at most half
of a shape beyond the first is idle. One shape for the whole ramp would compute GPT-3 175B's first
12 billion tokens at the price of 55; a program for each number of rows would be 1,500 programs.
"""

import bisect
import dataclasses

from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RampConfig:
    """How the batch grows.

    Attributes:
      rows: of the first batch; 0 for batches of `data.batch_size` from the beginning.
      tokens: after so many, counted as rows * seq_len, the batch has its full size.
      multiple_of: what the rows of each shape divide by: parts of the batch on the mesh, times
        microbatches.
    """

    rows: int = 0
    tokens: int = 0
    multiple_of: int = 1

    def __post_init__(self):
        if self.rows < 0:
            raise UserError(f"rows={self.rows} is negative; give those of the first batch, or 0")
        if self.tokens < 0 or (self.rows and not self.tokens):
            raise UserError(
                f"tokens={self.tokens} with ramp.rows={self.rows}; give the tokens over which the"
                " batch grows, or 0 rows for no ramp"
            )
        if self.multiple_of < 1:
            raise UserError(f"multiple_of={self.multiple_of}; give 1 or more")


@dataclasses.dataclass(frozen=True)
class Rows:
    """How many rows the batch of each step has.

    Piece i begins at steps[i], has rows[i] rows a step, and examples[i] are used up before it.
    """

    steps: tuple[int, ...]
    rows: tuple[int, ...]
    examples: tuple[int, ...]

    def of(self, step: int) -> int:
        """Rows of a step."""
        return self.rows[self._piece(step)]

    def before(self, step: int) -> int:
        """Examples that the steps before it have used up."""
        piece = self._piece(step)
        return self.examples[piece] + (step - self.steps[piece]) * self.rows[piece]

    def _piece(self, step: int) -> int:
        return bisect.bisect_right(self.steps, step) - 1


def growing_rows(ramp: RampConfig, batch_size: int, seq_len: int) -> Rows:
    """The rows of each step, the last piece being that of the full batch.

    Raises:
      UserError: where the first batch is larger than the full one.
    """
    if ramp.rows > batch_size:
        raise UserError(
            f"rows={ramp.rows} of the first batch are more than config.data.batch_size={batch_size}"
        )
    steps, rows, examples, step, used = [], [], [], 0, 0
    while not rows or rows[-1] < batch_size:
        seen = min(used * seq_len, ramp.tokens)
        now = ramp.rows + (batch_size - ramp.rows) * seen // ramp.tokens
        if not rows or now > rows[-1]:
            steps.append(step)
            rows.append(now)
            examples.append(used)
        # On to the first step at which the line has reached the next row.
        wanted = -(-(now + 1 - ramp.rows) * ramp.tokens // max(batch_size - ramp.rows, 1))
        more = max(1, -(-(wanted - used * seq_len) // (now * seq_len)))
        step, used = step + more, used + more * now
    return Rows(tuple(steps), tuple(rows), tuple(examples))


def shape_of(rows: int, ramp: RampConfig, batch_size: int) -> int:
    """The rows of the smallest shape that has room for `rows`."""
    shape = ramp.multiple_of
    while shape < rows:
        shape *= 2
    return min(shape, batch_size)


def steps_for(tokens: int, ramp: RampConfig, batch_size: int, seq_len: int) -> int:
    """After how many steps a run has seen `tokens` tokens."""
    examples = -(-tokens // seq_len)
    if not ramp.rows:
        return -(-examples // batch_size)
    grown = growing_rows(ramp, batch_size, seq_len)
    piece = bisect.bisect_right(grown.examples, examples) - 1
    return grown.steps[piece] + -(-(examples - grown.examples[piece]) // grown.rows[piece])
