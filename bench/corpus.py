"""How the time and the memory of a corpus run grow with the number of its texts: prints one table.

A tiny random model, so that what grows is the run's own work: a text read, measured and written, nothing kept.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from density.corpus.dataset import open_dataset, settings_of
from density.corpus.rows import Measure
from density.corpus.run import Meter, run_here
from density.corpus.sources import Text
from tests.conftest import byte_level_tokenizer
from tests.tiny import LLAMA, tiny

COUNTS = (10, 30, 100, 300, 1000)
WORDS = ("river", "stone", "letter", "window", "garden", "answer", "market", "winter", "silver", "engine")


def make_model(folder: Path) -> Path:
    """A tiny Llama with a tokenizer, as a folder."""
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(folder)
    tiny(LLAMA, vocab_size=len(tokenizer), max_position_embeddings=1024).model.save_pretrained(folder)
    return folder


def texts(count: int) -> list[Text]:
    """Short texts, all different and of like length."""
    return [Text(str(n), f"{WORDS[n % 10]} {WORDS[n // 10 % 10]} {WORDS[n // 100 % 10]} {n:05d}") for n in range(count)]


def run(model: str, count: int, folder: Path) -> dict[str, float]:
    """Measures ``count`` texts in this process: predictions, seconds from the first text's end on, peak bytes."""
    ends: list[float] = []
    some, measure = texts(count), Measure()
    settings = settings_of(some, [model], measure, source="bench.txt", precision="float32")
    with open_dataset(folder, some, settings) as dataset:
        meter = Meter(count, 0, lambda meter: ends.append(time.perf_counter()) if meter.now > len(ends) else None)
        run_here(dataset, measure, device="cpu", precision="float32", meter=meter)
    assert meter.rows == len(ends) == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"predictions": meter.rows, "seconds": ends[-1] - ends[0], "peak": peak}


def apart(model: Path, count: int) -> dict[str, float]:
    """The same in a process of its own, whose peak is its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.corpus", "--model", str(model), "--texts", str(count), "--out", folder]
        answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(answer.stderr)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measures all counts and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="one run in this process: the model's folder")
    parser.add_argument("--texts", type=int, help="... its texts")
    parser.add_argument("--out", type=Path, help="... and where its dataset goes")
    chosen = parser.parse_args()
    if chosen.model:
        print(json.dumps(run(chosen.model, chosen.texts, chosen.out)))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder) / "tiny")
        found = {count: apart(model, count) for count in COUNTS}
    table = Table(title="corpora on a tiny random model, CPU float32", title_justify="left", box=None)
    for name, justify in (("texts", "right"), ("seconds per 1,000 predictions", "right"), ("peak memory", "right")):
        table.add_column(name, justify=justify)
    for count, one in found.items():
        # The first text's time is not in it.
        pace = 1000 * one["seconds"] / (one["predictions"] - 1)
        table.add_row(f"{count:,}", f"{pace:.1f}", f"{one['peak'] / 1e6:.0f} MB")
    Console().print(table)
    counts = np.array(COUNTS)
    seconds, peaks = (np.array([found[count][name] for count in COUNTS]) for name in ("seconds", "peak"))
    exponent = np.polyfit(np.log(counts - 1), np.log(seconds), 1)[0]
    slope = np.polyfit(counts, peaks, 1)[0]
    Console().print(f"time grows as texts to the power {exponent:.2f}; memory by {slope / 1e3:.1f} kB a text")


if __name__ == "__main__":
    main()
