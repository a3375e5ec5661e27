"""How fast `prepare` tokenises, against the tokenizer library alone, and how much memory it takes.

  python -m tests.peers.prepare_rate --text='/data/*.txt' --tokenizer=wordpiece
  python -m tests.peers.prepare_rate --text=small.txt --memory_mb=10,100,1000

The peer is the tokenizer's library: `encode_batch_fast` of tokenizers, or `Encode` of
sentencepiece, with as many threads as `prepare` has workers, on the same sentences in batches of
4,096, its ids thrown away. `prepare` reads files, splits documents into sentences, tokenises, finds
where words begin and writes parts. Both are timed in turn on the text repeated to --mb, so that
there is a unit of work for each worker; the start of processes is left out. The tokenizer is
trained on the text where --path names none. Rates are of wall-clock time, so the machine should
have nothing else to do.

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
from collections.abc import Callable

import psutil
import sentencepiece
from absl import app, flags

from plmjax.data import workers
from plmjax.data.cleaning import Cleaning
from plmjax.data.files import matches
from plmjax.data.sentences import split_sentences
from plmjax.data.sources import parse_source
from plmjax.data.text_settings import TextSettings, open_annotator
from plmjax.data.tokenising import Job
from plmjax.data.tokenizers import Tokenizer

TEXT = flags.DEFINE_string("text", None, "Files with blank lines between documents.", required=True)
TOKENIZER = flags.DEFINE_string("tokenizer", "wordpiece", "A kind of tokenizer.")
PATH = flags.DEFINE_string("path", "", "Its files; empty to train 8,192 tokens.")
SIZE = flags.DEFINE_integer("mb", 64, "To how much the text is repeated.")
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
    settings = TextSettings(TOKENIZER.value, PATH.value, vocab_size=8192)
    file = repeated(folder, SIZE.value)
    units = parse_source(f"text:{file}").units()
    sentences = sentences_of(file.read_text())
    few = {s: None for path in matches(TEXT.value) for s in sentences_of(path.read_text())}
    tokenizer = settings.given_tokenizer() or settings.trained(lambda: iter(few))
    settings.save(tokenizer, folder)
    encode = library(tokenizer)
    digest = open_annotator(folder).digest
    spacing = settings.spacing_for(tokenizer)
    megabytes = sum(unit.size for unit in units) / 1e6
    ours, theirs = [], []
    for round_ in range(ROUNDS.value + 1):
        begin = time.perf_counter()
        for start in range(0, len(sentences), AT_ONCE):
            encode(sentences[start : start + AT_ONCE])
        middle = time.perf_counter()
        parts = folder / f"parts{round_}"
        parts.mkdir()
        job = Job(str(folder), str(parts), digest, Cleaning(), 0.05, spacing)
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
    file = repeated(folder, size)
    command = [sys.executable, "-m", "plmjax.prepare", f"--out={folder}/store{size}"]
    command += [f"--source=text:{file}", f"--workers={WORKERS.value}", "--vocab_size=8192"]
    command += [f"--tokenizer={TOKENIZER.value}", f"--tokenizer_path={PATH.value}"]
    begin, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.1)
    seconds = time.perf_counter() - begin
    print(f"{size} MB: {peak / 1e6:.0f} MB at most, {seconds:.0f} s, exit {process.returncode}")
    file.unlink()


def repeated(folder: pathlib.Path, size: int) -> pathlib.Path:
    """A file of so many MB."""
    text = b"".join(path.read_bytes() + b"\n\n" for path in matches(TEXT.value))
    file = folder / f"{size}.txt"
    with file.open("wb") as out:
        while out.tell() < size * 1_000_000:
            out.write(text)
    return file


def library(tokenizer: Tokenizer) -> Callable[[list[str]], object]:
    """What the tokenizer's library itself does to a batch of texts."""
    if tokenizer.kind == "sentencepiece":
        processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
        return functools.partial(processor.Encode, num_threads=WORKERS.value)
    return functools.partial(tokenizer._engine.encode_batch_fast, add_special_tokens=False)


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
