"""How fast `prepare` tokenises, against the tokenizer library alone, and how much memory it takes.

  python -m tests.peers.prepare_rate --text='/data/*.txt' --vocab=vocab.txt --rounds=5
  python -m tests.peers.prepare_rate --text=small.txt --memory_mb=10,100,1000

The peer is `encode_batch_fast` of the tokenizers library with as many threads as `prepare` has
workers, on the same sentences, in batches of 4,096, its ids thrown away. `prepare` reads files,
splits documents into sentences, tokenises, finds where words begin and writes parts. Both are
timed in turn, process start left out: the pool is warmed by a unit that is not counted. Rates are
of wall-clock time, so the machine should have nothing else to do.

With --memory_mb the text is repeated to the sizes given, prepared by the command itself, and the
largest resident set of its process tree is told, pages that processes share counted once (PSS).
"""

import functools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import psutil
import tokenizers
from absl import app, flags

from plmjax.data import workers
from plmjax.data.cleaning import Cleaning
from plmjax.data.files import matches
from plmjax.data.sentences import split_sentences
from plmjax.data.sources import parse_source
from plmjax.data.text_settings import TextSettings, open_annotator
from plmjax.data.tokenising import Job

TEXT = flags.DEFINE_string("text", None, "Files with blank lines between documents.", required=True)
VOCAB = flags.DEFINE_string("vocab", "", "A BERT vocab.txt; empty to train 8,192 tokens.")
WORKERS = flags.DEFINE_integer("workers", 2, "Processes, and threads of the peer.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds, each of both in turn.")
MEMORY = flags.DEFINE_list("memory_mb", [], "Sizes at which to measure memory, in MB.")
AT_ONCE = 4096


def main(_) -> None:
    os.environ["RAYON_NUM_THREADS"] = str(WORKERS.value)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if MEMORY.value:
            for size in MEMORY.value:
                memory(folder, int(size))
        else:
            rates(folder)


def rates(folder: pathlib.Path) -> None:
    settings = TextSettings(tokenizer_path=VOCAB.value, vocab_size=8192)
    source = parse_source(f"text:{TEXT.value}")
    units = source.units()
    sentences = [s for path in matches(TEXT.value) for s in sentences_of(path.read_text())]
    tokenizer = settings.given_tokenizer() or settings.trained(lambda: iter(sentences))
    settings.save(tokenizer, folder)
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine.no_padding()
    digest = open_annotator(folder).digest
    megabytes = sum(unit.size for unit in units) / 1e6
    ours, theirs = [], []
    for round_ in range(ROUNDS.value + 1):
        begin = time.perf_counter()
        for start in range(0, len(sentences), AT_ONCE):
            engine.encode_batch_fast(sentences[start : start + AT_ONCE], add_special_tokens=False)
        middle = time.perf_counter()
        parts = folder / f"parts{round_}"
        parts.mkdir()
        job = Job(str(folder), str(parts), digest, Cleaning(), 0.05, "collapse")
        progress: list[float] = []
        workers.make_parts(job, units, WORKERS.value, functools.partial(tick, progress))
        # From the first bytes that are read, so that the start of processes is left out.
        seconds = time.perf_counter() - progress[0]
        if round_:  # the first warms the caches
            theirs.append(middle - begin)
            ours.append(seconds)
            print(f"round {round_}: ours {seconds:.2f} s, library {theirs[-1]:.2f} s", flush=True)
    shares = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    print(
        f"{megabytes:.1f} MB, {WORKERS.value} workers: ours"
        f" {megabytes / statistics.median(ours):.2f} MB/s, library"
        f" {megabytes / statistics.median(theirs):.2f} MB/s, share"
        f" {statistics.median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})"
    )


def tick(progress: list[float], count: int) -> None:
    if count:
        progress.append(time.perf_counter())


def sentences_of(text: str) -> list[str]:
    return [sentence for line in text.split("\n") for sentence in split_sentences(line)]


def memory(folder: pathlib.Path, size: int) -> None:
    text = b"".join(path.read_bytes() + b"\n\n" for path in matches(TEXT.value))
    file = folder / f"{size}.txt"
    with file.open("wb") as out:
        while out.tell() < size * 1_000_000:
            out.write(text)
    command = [sys.executable, "-m", "plmjax.prepare", f"--out={folder}/store{size}"]
    command += [f"--source=text:{file}", f"--workers={WORKERS.value}", "--vocab_size=8192"]
    command += [f"--tokenizer_path={VOCAB.value}"] if VOCAB.value else []
    begin, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.1)
    seconds = time.perf_counter() - begin
    print(f"{size} MB: {peak / 1e6:.0f} MB at most, {seconds:.0f} s, exit {process.returncode}")
    file.unlink()


def resident(pid: int) -> int:
    """Bytes of a process and its descendants, pages that they share counted once."""
    total = 0
    try:
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass
    return total


if __name__ == "__main__":
    app.run(main)
