"""Killed, filled up, shut out: what was finished is there, nothing is believed that is not whole, and it is said why.

Processes are killed for good, before each change they make to the disk, one after another, and at random moments. What
mocks can show is in the modules' own tests; here disks are full and folders closed in earnest.
"""

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from filelock import FileLock

from density import cli, models
from density.errors import Cancelled
from density.models import CacheUnavailable, TermsNotAccepted
from density.models.cache import sha256_of
from density.profile import profile
from density.serving import service as serving
from density.serving.jobs import Status
from density.serving.question import Question
from density.serving.service import Service
from density.store import PROFILE, Store
from tests import test_models
from tests.test_store import about

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
TEXTS = ("The capital of France is", "Mr Abernathy opened the door.", "Nobody had seen the old man.")
# What Python says before it changes a disk; a file that is opened is one if it is opened to be written.
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.move"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

gguf_file, shop = test_models.gguf_file, test_models.shop


# In a process that is to be killed


def die_before_change(number, told):
    """Kills this process before its ``number``-th change to the disk; tells how many there were so far."""
    count = itertools.count(1)

    def watch(event, given):
        if event in CHANGES or (event == "open" and isinstance(given[2], int) and given[2] & WRITES):
            now = next(count)
            os.write(told, b".")
            if now == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def child(work, environment, number, told, given):
    """Runs ``work``, quietly, until it has ended or is killed."""
    os.environ.update(environment)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        if number is not None:
            die_before_change(number, told.fileno())
        work(told.fileno(), *given)


def fetch_tiny(told, entry, path):
    test_models.CATALOGUE._CATALOGUE = (entry,)
    models.fetch("tiny")


def convert_tiny(told, entry, path):
    from density.models.convert import converted

    converted(path)


def put_for_ever(told, path, first):
    store = Store(path)
    for number in itertools.count(first):
        store.put(PROFILE, about(str(number)), body(number))
        os.write(told, b"%d\n" % number)


def profile_texts(told, path, model):
    service = Service(Store(path))
    for number, text in enumerate(TEXTS):
        assert finished(service.profile(Question(model, text))).status is Status.DONE
        os.write(told, b"%d\n" % number)


def profile_slowly(told, path, model):
    """A profile that is told of at each batch, and is being measured for ever."""

    def slow(reading, *, positions, check, **options):
        yield from profile(reading, positions=positions[:2], check=check, **options)
        while True:
            check()
            os.write(told, b".")
            time.sleep(0.01)

    serving.profile, serving.KEEP_SECONDS = slow, 0.05
    finished(Service(Store(path)).profile(Question(model, TEXTS[0])))


def finished(job):
    """A job's end, waited for as a page does."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := job.poll()).finished and time.monotonic() < deadline:
        time.sleep(0.02)
    return seen


def export_models(told, path):
    sys.exit(cli.main(["models", "--json", str(path)]))


@pytest.fixture
def start(forks):
    """Starts `child`; returns the process and what it tells."""
    names = ("DENSITY_HOME", "PYTHONPATH", "WHEELS", "PACE")

    def begin(work, *given, number=None):
        environment = {name: os.environ[name] for name in names if name in os.environ}
        reader, writer = forks.Pipe(duplex=False)
        process = forks.Process(target=child, args=(work, environment, number, writer, given), daemon=True)
        process.start()
        writer.close()
        return process, reader

    return begin


def ended(process, reader):
    """Everything a process told until its end, and whether it was killed."""
    told = bytearray()
    with suppress(EOFError):
        while block := os.read(reader.fileno(), 1 << 16):
            told += block
    process.join(PATIENCE)
    reader.close()
    assert process.exitcode in (0, -signal.SIGKILL)
    return bytes(told), process.exitcode != 0


def content(folder):
    """Every file of a folder by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Models


def all_of_them(changes):
    return range(1, changes + 1)


def some_of_them(changes):
    """A few, and those around the moment when one folder takes the other's place."""
    return sorted({1, changes // 3, 2 * changes // 3, *range(changes - 5, changes - 1)})


@pytest.mark.parametrize("every", [some_of_them, pytest.param(all_of_them, marks=pytest.mark.slow)])
@pytest.mark.parametrize("work", [fetch_tiny, convert_tiny])
def test_killed_before_a_change_a_model_is_whole_or_made_again(
    work, every, shop, gguf_file, own_home, start, in_summary
):
    given = (work, shop.entry, gguf_file)
    told, killed = ended(*start(*given, number=0))
    changes = len(told)
    (folder,) = (path for path in (own_home / "models").iterdir() if path.is_dir())
    whole, kills = content(folder), 0
    assert not killed and changes > 10
    for number in every(changes):
        # What is there is damaged, so that it has to be taken away too.
        if folder.exists():
            (folder / "config.json").write_bytes(b"")
        kills += ended(*start(*given, number=number))[1]
        assert not folder.exists() or content(folder)["config.json"] == b"" or content(folder) == whole
    assert kills >= 5
    assert not ended(*start(*given))[1]
    assert content(folder) == whole
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}
    in_summary("faults", [f"{work.__name__}: killed before {kills} of {changes} changes to the disk, then made whole"])


def test_killed_at_random_moments_a_model_is_whole_or_made_again(shop, gguf_file, own_home, start):
    process, reader = start(fetch_tiny, shop.entry, gguf_file)
    began = time.monotonic()
    assert not ended(process, reader)[1]
    seconds, folder, rng = time.monotonic() - began, own_home / "models" / "tiny", random.Random(0)
    whole = content(folder)
    for _ in range(4):
        shutil.rmtree(folder, ignore_errors=True)
        process, reader = start(fetch_tiny, shop.entry, gguf_file)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        ended(process, reader)
        assert not folder.exists() or content(folder) == whole
    assert models.fetch("tiny") == folder and content(folder) == whole


def test_waiting_for_another_process_can_be_stopped(shop, own_home):
    (own_home / "models").mkdir(parents=True)
    told = []

    def stop(stage, done, total):
        told.append(stage)
        raise Cancelled("stopped")

    with FileLock(own_home / "models" / "tiny.lock"), pytest.raises(Cancelled):
        models.fetch("tiny", stop)
    assert told == ["waiting for another process"] and shop.calls == []


@pytest.mark.parametrize(
    "damage", [b"", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"digests": 1, "seal": 2}', "another digest"]
)
def test_digests_that_are_not_what_was_written_are_not_believed(own_home, tmp_path, damage, monkeypatch):
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)
    (tmp_path / "file").write_bytes(b"content")
    true = sha256_of(tmp_path / "file")
    memory = own_home / "digests.json"
    kept = memory.read_bytes()
    assert true.encode() in kept
    if damage == "another digest":
        damage = kept.replace(true.encode(), b"0" * 64)
    memory.write_bytes(damage)
    assert sha256_of(tmp_path / "file") == true
    assert sha256_of(tmp_path / "file") == true and true.encode() in memory.read_bytes()


def test_a_digest_that_cannot_be_written_down_is_remembered_meanwhile(own_home, tmp_path, monkeypatch):
    now, read = time.time_ns, []
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: read.append(given) or digest(*given))
    own_home.write_text("no folder")
    (tmp_path / "file").write_bytes(b"content")
    assert sha256_of(tmp_path / "file") == sha256_of(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()
    assert len(read) == 1
    (tmp_path / "file").write_bytes(b"another")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"another").hexdigest()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"Be kin"])
def test_a_damaged_record_of_acceptance_is_asked_for_again(shop, own_home, damage):
    shop.change(terms="Be kind.")
    models.fetch("tiny", accept_terms=True)
    shutil.rmtree(own_home / "models" / "tiny")
    (own_home / "accepted" / "tiny.txt").write_bytes(damage)
    with pytest.raises(TermsNotAccepted, match="Be kind"):
        models.fetch("tiny")


def test_a_manifest_nested_without_end_is_no_manifest(shop, own_home):
    folder = models.fetch("tiny")
    (folder / "manifest.json").write_text("[" * 100_000)
    assert models.state(shop.entry) == "to fetch"
    assert models.fetch("tiny") == folder and len(shop.calls) == 4


# Results


def body(number):
    """An answer that no other has."""
    return {"answer": [number] * 200, "noise": random.Random(number).randbytes(700).hex()}


def test_killed_at_any_moment_the_store_has_what_was_put(start, tmp_path, in_summary, caplog):
    path, rng, first, said = tmp_path / "results.sqlite3", random.Random(0), 0, []
    for _ in range(12):
        process, reader = start(put_for_ever, path, first)
        # Until it writes; then a moment more.
        told = os.read(reader.fileno(), 1)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        rest, killed = ended(process, reader)
        assert killed
        numbers = [int(line) for line in (told + rest).split(b"\n")[:-1]]
        first += len(numbers) + 1
        said += numbers
        store = Store(path)
        for number in numbers:
            assert store.get(PROFILE, about(str(number))) == body(number)
    assert all(store.get(PROFILE, about(str(number))) == body(number) for number in said)
    # One that was being written when it was killed may be there, and is whole if it is.
    others = [entry.about["text"] for entry in store.entries(PROFILE) if int(entry.about["text"]) not in said]
    assert len(others) <= 12 and all(store.get(PROFILE, about(text)) == body(int(text)) for text in others)
    assert integrity(path) == "ok" and caplog.text == ""
    in_summary("faults", [f"the store: killed 12 times while {len(said)} results were put; all are there, whole"])


def integrity(path):
    db = sqlite3.connect(path)
    try:
        return db.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        db.close()


def left_by_a_kill(folder):
    """A file as a process leaves it that is killed before what it wrote has been moved from the log."""
    store = Store(folder / "alive" / "results.sqlite3")
    store.put(PROFILE, about("0"), body(0))
    reader = sqlite3.connect(store.path)
    reader.execute("SELECT * FROM entries").fetchall()
    for number in range(1, 6):
        store.put(PROFILE, about(str(number)), body(number))
    (folder / "killed").mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{store.path}{suffix}", folder / "killed")
    reader.close()
    return Store(folder / "killed" / "results.sqlite3")


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "another"])
def test_a_damaged_log_gives_what_was_written_or_nothing(tmp_path, harm):
    store = left_by_a_kill(tmp_path)
    log = Path(f"{store.path}-wal")
    whole, main, rng = log.read_bytes(), store.path.read_bytes(), random.Random(0)
    found = []
    for _ in range(15):
        for left in store.path.parent.iterdir():
            left.unlink()
        store.path.write_bytes(main)
        place = rng.randrange(len(whole))
        flipped = whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
        log.write_bytes({"cut": whole[:place], "flip": flipped, "another": rng.randbytes(place)}.get(harm, whole))
        if harm == "remove":
            log.unlink()
        there = [store.get(PROFILE, about(str(number))) for number in range(6)]
        assert all(answer in (None, body(number)) for number, answer in enumerate(there))
        store.put(PROFILE, about("new"), body(7))
        assert store.get(PROFILE, about("new")) == body(7)
        found.append(sum(answer is not None for answer in there))
    # As far as it is whole, it is read.
    assert (max(found) > min(found)) == (harm in ("cut", "flip"))


def test_a_log_left_by_a_kill_is_read(tmp_path):
    store = left_by_a_kill(tmp_path)
    assert [store.get(PROFILE, about(str(number))) for number in range(6)] == [body(number) for number in range(6)]


def answered(path, model, text):
    """An answer by a service that has just been started, and the replays it took."""
    service = Service(Store(path) if path else None)
    seen = finished(service.profile(Question(model, text)))
    service.close()
    assert (seen.status, seen.error) == (Status.DONE, None)
    document = seen.subject.document(seen.results)
    replays = sum(found["replays"] for found in document["predictions"])
    predictions = [{**found, "replays": 0} for found in document["predictions"]]
    return {**document, "health": None, "predictions": predictions}, replays


def near(found, wanted):
    """Whether two documents are the same up to the last digits of numbers, which other threads' sums differ in."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(near(found[name], wanted[name]) for name in found)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(near, found, wanted))
    return found == (pytest.approx(wanted, abs=1e-5) if isinstance(wanted, float) else wanted)


def test_killed_while_it_profiles_what_was_finished_is_there(start, own_home, tmp_path, tiny_folder):
    path, model = tmp_path / "results.sqlite3", str(tiny_folder)
    began = time.monotonic()
    assert not ended(*start(profile_texts, tmp_path / "whole.sqlite3", model))[1]
    seconds, rng, finished, kills = time.monotonic() - began, random.Random(1), set(), 0
    for _ in range(4):
        process, reader = start(profile_texts, path, model)
        time.sleep(rng.uniform(0.3, 0.9) * seconds)
        process.kill()
        told, killed = ended(process, reader)
        kills += killed
        finished |= {int(line) for line in told.split()}
    assert kills > 0 and integrity(path) == "ok"
    for number, text in enumerate(TEXTS):
        document, replays = answered(path, model, text)
        assert near(document, answered(None, model, text)[0])
        assert replays == 0 or number not in finished


def test_killed_in_the_middle_of_a_profile_what_was_measured_is_there(start, own_home, tmp_path, tiny_folder):
    path, model = tmp_path / "results.sqlite3", str(tiny_folder)
    process, reader = start(profile_slowly, path, model)
    deadline = time.monotonic() + PATIENCE
    points = Store(path, read_only=True)
    while not points.total() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    assert ended(process, reader)[1] and integrity(path) == "ok"
    _, fresh = answered(None, model, TEXTS[0])
    document, replays = answered(path, model, TEXTS[0])
    assert near(document, answered(None, model, TEXTS[0])[0])
    assert replays < fresh


# Files


def test_killed_at_any_change_an_export_is_the_old_file_or_the_new(start, own_home, tmp_path):
    path = tmp_path / "out.json"
    old = b"what was there before"
    changes = len(ended(*start(export_models, path, number=0))[0])
    new = path.read_bytes()
    assert json.loads(new)["schema"] == "density.models/1"
    found = []
    for number in range(1, changes + 1):
        path.write_bytes(old)
        assert ended(*start(export_models, path, number=number))[1]
        found.append(path.read_bytes())
    assert set(found) == {old} and changes >= 2
    path.write_bytes(old)
    assert not ended(*start(export_models, path))[1] and path.read_bytes() == new


@pytest.mark.parametrize("where", ["/dev/full", "a full disk"])
def test_a_result_for_which_there_is_no_room_is_said_and_leaves_the_old_file(where, own_home, small_disk, capfd):
    path = Path(where)
    if where == "a full disk":
        path = small_disk / "out.json"
        path.write_bytes(b"before")
        fill(small_disk)
    assert cli.main(["models", "--json", str(path)]) == 1
    said = capfd.readouterr().err
    assert said == (
        f"density: the result cannot be written to {path} (No space left on device); name another place with --json.\n"
    )
    if where == "a full disk":
        assert path.read_bytes() == b"before" and {found.name for found in small_disk.iterdir()} == {
            "out.json",
            "filler",
        }


def test_standard_output_that_takes_no_more_is_said_in_one_line(own_home):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "density", "models", "--json", "-"]
        ran = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == (
        "density: the result cannot be written to standard output (No space left on device); "
        "name another place with --json.\n"
    )


def test_a_pipe_a_link_and_a_device_are_written_to_as_they_are(own_home, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "target").write_text("before")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert cli.main(["models", "--json", str(tmp_path / "pipe")]) == 0
        piped = reader.communicate(timeout=PATIENCE)[0]
    assert cli.main(["models", "--json", str(tmp_path / "link")]) == 0
    assert cli.main(["models", "--json", os.devnull]) == 0
    assert (tmp_path / "link").is_symlink() and Path(os.devnull).is_char_device()
    assert (tmp_path / "target").read_bytes() == piped and json.loads(piped)


# A full disk


def fill(folder, leave=0, name="filler"):
    """Takes all the room of a disk, except for so many bytes."""
    free = shutil.disk_usage(folder).free - leave
    with (folder / name).open("wb") as file:
        if free > 0:
            os.posix_fallocate(file.fileno(), 0, free)


@pytest.fixture
def disk(tmp_path, in_summary):
    """A function that makes a disk of so many bytes, in memory."""
    made = []

    def make(size):
        place = tmp_path / f"disk-{len(made)}"
        place.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True, check=False
        )
        if mounted.returncode != 0:
            reason = f"a full disk: no tmpfs can be mounted: {mounted.stderr.strip()}"
            in_summary("left out", [f"tests of {reason}"])
            pytest.skip(reason)
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small_disk(disk):
    """A disk of a mebibyte."""
    return disk(2**20)


def test_a_model_for_which_there_is_no_room_is_not_begun(shop, small_disk, monkeypatch):
    monkeypatch.setenv("DENSITY_HOME", str(small_disk / "home"))
    with pytest.raises(
        CacheUnavailable, match=r"Making tiny ready needs 100 MB of disk and 1\.05 MB are free at .*Free"
    ):
        models.fetch("tiny")
    assert shop.calls == []


@pytest.mark.parametrize("stage", ["download", "convert"])
def test_a_disk_that_fills_up_while_a_model_is_made_is_named_and_then_it_is_made(shop, disk, stage, monkeypatch):
    place = disk(150 * 10**6)
    monkeypatch.setenv("DENSITY_HOME", str(place / "home"))
    # Slow enough that the disk is full before all has arrived.
    monkeypatch.setenv("PACE", "1" if stage == "download" else "0")

    def fill_up(now, done, total):
        if now == stage and not (place / "filler").exists():
            fill(place)

    with pytest.raises(CacheUnavailable, match=r"the disk of .*home is full\. Free some space, or set DENSITY_HOME to"):
        models.fetch("tiny", fill_up)
    assert {path.name for path in (place / "home" / "models").iterdir()} == {"tiny.lock"}
    (place / "filler").unlink()
    assert models.fetch("tiny") and models.state(shop.entry) == "ready"


def test_a_store_on_a_full_disk_loses_nothing_and_can_be_emptied(small_disk, caplog):
    store = Store(small_disk / "results.sqlite3")
    store.put(PROFILE, about("kept"), body(1))
    fill(small_disk, leave=80_000)
    for number in range(100):
        store.put(PROFILE, about(str(number)), body(number))
    assert "kept results are passed by" in caplog.text and "full" in caplog.text
    assert "full" in store.trouble
    (small_disk / "filler").unlink()
    assert store.get(PROFILE, about("kept")) == body(1) and integrity(store.path) == "ok"
    there = [entry.about["text"] for entry in store.entries(PROFILE) if entry.about["text"] != "kept"]
    assert 0 < len(there) < 100 and all(store.get(PROFILE, about(text)) == body(int(text)) for text in there)
    # Not even room for what SQLite needs to read.
    fill(small_disk)
    assert store.get(PROFILE, about("kept")) is None
    assert "its disk is full" in caplog.text
    store.clear()
    (small_disk / "filler").unlink()
    assert store.entries(PROFILE) == []
    store.put(PROFILE, about("new"), body(2))
    assert store.get(PROFILE, about("new")) == body(2) and store.trouble is None


def test_a_question_is_answered_though_nothing_can_be_kept(small_disk, tiny_folder, own_home):
    fill(small_disk)
    document, replays = answered(small_disk / "results.sqlite3", str(tiny_folder), TEXTS[0])
    assert document == answered(None, str(tiny_folder), TEXTS[0])[0] and replays > 0


def test_a_corpus_on_a_small_disk_keeps_what_it_has(disk, tmp_path, tiny_folder, own_home, capfd):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    out = disk(2**20)
    command = ["corpus", str(texts), "--out", str(out / "set"), "--model", str(tiny_folder)]
    fill(out, leave=40_000)
    assert cli.main(command) == 1
    assert (
        "No space left on device). All finished work is kept: free some space, and run the same"
        in capfd.readouterr().err
    )
    assert not list(out.glob("**/*.partial"))
    (out / "filler").unlink()
    assert cli.main(command) == 0
