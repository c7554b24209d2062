"""``python -m tests.fuzz TARGET|all --runs N``: mutated inputs for a target, and the ones it failed on kept as tests.

atheris, where it is installed, mutates towards code not yet run; otherwise inputs are mutated blindly. Either way a
target runs in a process of its own, whose memory and seconds an input are bounded. An input that fails is written to
``tests/fuzz/found/TARGET``, one for each place that fails, and the exit code is 1.
"""

import argparse
import hashlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.mutation import mutated, mutated_json
from tests.fuzz.targets import FOUND, TARGETS, Target, found

ROOT = Path(__file__).parents[2]
MEMORY_MB, SECONDS_AN_INPUT = 4096, 60
DONE = re.compile(r"Done (\d+) runs? in (\d+) second")


def main() -> int:
    """Fuzzes what was asked; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--runs", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--seconds", type=int, default=0, help="for each target at most; 0 for no limit")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations")
    parser.add_argument("--blind", action="store_true", help="without atheris, even where it is installed")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return run_here(options.target, options.runs, options.seed, options.seconds, options.blind)
    failed = 0
    for name in TARGETS if options.target == "all" else [options.target]:
        failed += not fuzzed(name, options)
    return int(failed > 0)


def fuzzed(name: str, options: argparse.Namespace) -> bool:
    """Fuzzes one target in another process and prints a line; whether nothing was found."""
    before, began = set(found(name)), time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz", name, "--here", "--runs", str(options.runs)]
    command += ["--seed", str(options.seed), "--seconds", str(options.seconds), *(["--blind"] if options.blind else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output).returncode
        output.seek(0)
        said = output.read()
    new = sorted(set(found(name)) - before)
    done = DONE.findall(said)
    print(f"{name}: {done[-1][0] if done else 'fewer'} inputs, {time.monotonic() - began:.0f} s, {len(new)} found")
    for path in new:
        print(f"  {path.relative_to(ROOT)}")
    if code != 0 or not done:
        print(f"  ended with {code}:", *said.splitlines()[-20:], sep="\n  ")
    sys.stdout.flush()
    return code == 0 and bool(done) and not new


def run_here(name: str, runs: int, seed: int, seconds: int, blind: bool) -> int:
    """Fuzzes one target in this process."""
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    if not blind and find_spec("atheris"):
        guided(name, runs, seed, seconds)
    return blindly(name, runs, seed, seconds)


def guided(name: str, runs: int, seed: int, seconds: int) -> None:
    """Fuzzes with atheris; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["density"]):
        target = TARGETS[name]
        check = keeper(name, target)
        for data in starts(name, target):
            check(data)
    with tempfile.TemporaryDirectory() as corpus, tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        for data in starts(name, target):
            (Path(corpus) / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        for word in target.words:
            words.write('"' + "".join(f"\\x{byte:02x}" for byte in encoded(word)) + '"\n')
        words.flush()
        arguments = [f"-runs={runs}", f"-seed={seed}", f"-max_len={target.most}", f"-dict={words.name}"]
        arguments += [
            f"-rss_limit_mb={MEMORY_MB}",
            f"-timeout={SECONDS_AN_INPUT}",
            f"-max_total_time={seconds}",
            f"-report_slow_units={SECONDS_AN_INPUT}",
        ]
        arguments += [f"-artifact_prefix={FOUND / name}/", "-verbosity=1", corpus]

        def mutator(data: bytes, most: int, chosen: int) -> bytes:
            rng = random.Random(chosen)
            changed = mutated_json(data, rng) if rng.random() < 0.5 else None
            return (atheris.Mutate(data, most) if changed is None else changed)[:most]

        atheris.Setup([sys.argv[0], *arguments], check, custom_mutator=mutator)
        atheris.Fuzz()


def blindly(name: str, runs: int, seed: int, seconds: int) -> int:
    """Fuzzes with random mutations of the seeds; the exit code."""
    target, rng, began = TARGETS[name], random.Random(seed), time.monotonic()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, MEMORY_MB << 20))
    signal.signal(signal.SIGALRM, too_slow)
    check, pool = keeper(name, target), list(starts(name, target))
    words = [encoded(word) for word in target.words]
    done = 0
    while done < runs and not 0 < seconds <= time.monotonic() - began:
        done += 1
        signal.alarm(SECONDS_AN_INPUT)
        check(mutated(pool, words, rng)[: target.most])
    signal.alarm(0)
    print(f"Done {done} runs in {time.monotonic() - began:.0f} second(s)")
    return 0


def too_slow(*_: object) -> None:
    """What the clock does to an input that takes too long."""
    raise TimeoutError(f"over {SECONDS_AN_INPUT} seconds")


def starts(name: str, target: Target) -> Iterator[bytes]:
    """What mutations begin with: the target's seeds, and what was found before."""
    yield from target.seeds()
    for path in found(name):
        yield path.read_bytes()


def encoded(word: str) -> bytes:
    """A word as it stands in an input; those below 256 are bytes."""
    return word.encode("latin-1") if word.isascii() or max(word) == "\xff" else word.encode()


def keeper(name: str, target: Target):
    """Runs an input; one that fails is kept, the first from each place."""
    seen: set[str] = set()

    def check(data: bytes) -> None:
        try:
            target.accepts(bytes(data))
        except (Exception, RecursionError) as error:
            frames = traceback.extract_tb(error.__traceback__)
            last = [f"{frame.filename}:{frame.lineno}" for frame in frames if "density" in frame.filename]
            place = f"{type(error).__name__} {last[-1:]}"
            if place not in seen:
                seen.add(place)
                (FOUND / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
                traceback.print_exc()

    return check


if __name__ == "__main__":
    sys.exit(main())
