"""Twenty people at the served app for minutes, without a browser: ``python -m bench.soak``; prints one table.

Each person is a task that speaks the app's own websocket protocol as a tab does: it types, runs, stops, changes the
text under way, the model and the fidelity, leaves in the middle and comes back as somebody new. Nothing may fail and no
result may be lost; how long people wait, and how much memory the server ends with, is measured.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from bench.page import nothing_kept
from density.models import DEFAULT, fetch
from tests.browsing import served

PASSAGE = (Path(__file__).parent / "passage.txt").read_text(encoding="utf-8").split()
# Seconds after which a result counts as lost; a person's pauses between two acts, and between two parts of a text.
PATIENCE, PAUSES, TYPING = 120.0, (1.0, 5.0), 0.4
# Seconds for the engine to be imported, before anybody else comes.
START = 300.0
# Words of the texts, of which there are none twice.
WORDS = (4, 12)
# The small models are asked for so many times as often as the real one.
SMALL = 4
# Share of the time that is warm-up, and seconds over which memory is averaged.
WARM_UP, WINDOW = 0.4, 10
# Of the server: weights of the real model, and room for texts, so that what is kept is let go while people are there.
LIMITS = {"DENSITY_LIMIT_MEMORY": "640 MB", "DENSITY_LIMIT_MODELS_KEPT": "3"}
# What the server may have grown by after the warm-up and still be called flat.
FLAT = 0.1


@dataclass(frozen=True, slots=True)
class Shown:
    """An element on a page, with the run of the page and the fragment that drew it."""

    element: Any
    fragment: str
    run: str


@dataclass
class Seen:
    """What all people saw.

    Attributes:
        first: Seconds from Run to the first coloured token, by model.
        last: To the last, by model.
        stopped: Seconds from Stop to the page saying so.
        moved: Seconds from another fidelity to the answer at it.
        acts: How often what was done.
        errors: What a page or a connection said that it should not have.
        lost: What never came.
    """

    first: dict[str, list[float]] = field(default_factory=dict)
    last: dict[str, list[float]] = field(default_factory=dict)
    stopped: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    acts: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def did(self, act: str) -> None:
        """Counts an act."""
        self.acts[act] = self.acts.get(act, 0) + 1


class Tab:
    """A page of the app, open; what is on it is followed as a browser follows it."""

    def __init__(self, connection: ClientConnection, seen: Seen) -> None:
        self._connection, self._seen = connection, seen
        self._shown: dict[tuple[int, ...], Shown] = {}
        self._set: dict[str, tuple[str, Any]] = {}
        self._run = ""
        self._query = ""
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Leaves."""
        for task in (*self._polls.values(), self._reading):
            task.cancel()
        await self._connection.close()

    async def rerun(self, fragment: str = "", poll: bool = False, press: str | None = None) -> None:
        """Has the page, or a fragment of it, drawn again, with all that was set and perhaps a button pressed."""
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string, asked.fragment_id, asked.is_auto_rerun = self._query, fragment, poll
        for label, (kind, value) in self._set.items():
            for shown in self._labelled(label):
                state = asked.widget_states.widgets.add(id=shown.element.id)
                if kind == "double_array_value":
                    state.double_array_value.data.extend(value)
                else:
                    setattr(state, kind, value)
        if press is not None:
            asked.widget_states.widgets.add(id=press, trigger_value=True)
        await self._connection.send(message.SerializeToString())

    async def set(self, label: str, kind: str, value: Any) -> None:
        """Gives a widget a value."""
        await self.until(lambda: bool(self._labelled(label)), f"the widget {label}")
        self._set[label] = (kind, value)
        await self.rerun()

    async def press(self, label: str) -> bool:
        """Presses a button; whether it is there."""
        buttons = self._labelled(label)
        if buttons:
            await self.rerun(buttons[0].fragment, press=buttons[0].element.id)
        return bool(buttons)

    async def until(self, holds: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
        """Waits until something holds of the page; when that was. What does not come in time is lost."""
        deadline = time.perf_counter() + patience
        while not holds():
            self._changed.clear()
            if self._reading.done():
                raise ConnectionError(f"the connection was closed while {what} was awaited")
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - time.perf_counter())
            except TimeoutError:
                raise TimeoutError(f"{what}; the page says: {self.said()}") from None
        return time.perf_counter()

    def has(self, label: str) -> bool:
        """Whether a widget is there and can be used."""
        return any(not shown.element.disabled for shown in self._labelled(label))

    def said(self) -> str:
        """What the page says beside the widgets."""
        words = []
        for shown in self._shown.values():
            kind = getattr(shown.element, "DESCRIPTOR", None)
            words += [shown.element.body] if kind and kind.name in ("Markdown", "Alert") else []
            words += [shown.element.text] if kind and kind.name == "Progress" else []
        return " | ".join(words)[-400:]

    def cells(self, text: str, fidelity: int) -> list[dict[str, Any]]:
        """The heatmap's cells, if it is of that text at that fidelity."""
        for shown in self._shown.values():
            if getattr(shown.element, "component_name", "").endswith("density_heatmap"):
                data = json.loads(shown.element.json)[0]
                read = "".join(piece for cell in data["cells"] for piece, _ in cell["pieces"])
                if data["name"].endswith(f"fidelity {fidelity}%") and read.startswith(text):
                    return data["cells"]
        return []

    def _labelled(self, label: str) -> list[Shown]:
        return [shown for shown in self._shown.values() if getattr(shown.element, "label", None) == label]

    async def _read(self) -> None:
        with suppress(asyncio.CancelledError):
            try:
                async for raw in self._connection:
                    self._take(ForwardMsg.FromString(raw))
                    self._changed.set()
            finally:
                self._changed.set()

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._run = message.metadata.run.script_run_id
            if not message.metadata.run.fragment_ids:
                self._end_polls(list(self._polls))
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            content = getattr(element, element.WhichOneof("type") or "empty")
            self._shown[tuple(message.metadata.delta_path)] = Shown(content, message.delta.fragment_id, self._run)
            self._complain(element)
        elif kind == "auto_rerun":
            fragment = message.auto_rerun.fragment_id
            self._end_polls([fragment])
            self._polls[fragment] = asyncio.create_task(self._poll(fragment, message.auto_rerun.interval))
        elif kind == "stop_auto_rerun":
            self._end_polls(message.stop_auto_rerun.fragment_ids)
        elif kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "script_finished":
            self._sweep(message)

    def _sweep(self, message: ForwardMsg) -> None:
        """Takes away what the run that has just ended did not draw again."""
        fragments = set(message.metadata.run.fragment_ids)
        if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
            self._seen.errors.append("a page did not compile")
        if message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            kept = {
                path: shown
                for path, shown in self._shown.items()
                if shown.run == message.metadata.run.script_run_id or (fragments and shown.fragment not in fragments)
            }
            self._shown = kept

    def _complain(self, element: Any) -> None:
        if element.WhichOneof("type") == "exception":
            self._seen.errors.append(f"{element.exception.type}: {element.exception.message}")
        elif element.WhichOneof("type") == "alert" and element.alert.format == Alert.ERROR:
            self._seen.errors.append(element.alert.body)

    async def _poll(self, fragment: str, interval: float) -> None:
        with suppress(asyncio.CancelledError, OSError, Exception):
            while True:
                await asyncio.sleep(interval)
                await self.rerun(fragment, poll=True)

    def _end_polls(self, fragments: Sequence[str]) -> None:
        for fragment in fragments:
            if fragment in self._polls:
                self._polls.pop(fragment).cancel()


class Person:
    """Somebody with a mind of their own, but a seeded one."""

    def __init__(self, address: str, models: Sequence[str], seen: Seen, seed: int, starts: Iterator[int]) -> None:
        self._address, self._models, self._seen, self._starts = address, models, seen, starts
        self._random = random.Random(seed)
        self._tab: Tab | None = None
        self._fidelity = 80

    async def live(self, until: float) -> None:
        """Comes, does things, leaves and comes again until the time is over."""
        acts = (self.ask, self.ask, self.ask_and_stop, self.change_under_way, self.move, self.leave)
        while time.perf_counter() < until:
            act = self._random.choice(acts)
            try:
                tab = self._tab or await self.come()
                self._seen.did(act.__name__)
                await act(tab)
            except TimeoutError as error:
                self._seen.lost.append(f"{act.__name__}: {error}")
                await self.drop()
            except (OSError, ConnectionError, asyncio.CancelledError) as error:
                self._seen.errors.append(f"{act.__name__}: {type(error).__name__}: {error}")
                await self.drop()
            await asyncio.sleep(self._random.uniform(*PAUSES))
        await self.drop()

    async def come(self, patience: float = PATIENCE) -> Tab:
        """Opens the page, and waits until Run can be pressed."""
        address = self._address.replace("http", "ws") + "_stcore/stream"
        origin: Any = self._address.rstrip("/")
        connection = await connect(
            address, origin=origin, subprotocols=["streamlit"], max_size=None, open_timeout=PATIENCE
        )
        self._tab, self._fidelity = Tab(connection, self._seen), 80
        await self._tab.rerun()
        await self._tab.until(lambda: self._tab is not None and self._tab.has("Run"), "the page", patience)
        self._seen.did("come")
        return self._tab

    async def drop(self) -> None:
        """Closes the tab, if there is one."""
        if self._tab is not None:
            await self._tab.close()
            self._tab = None

    async def ask(self, tab: Tab) -> None:
        """Chooses a model now and then, types a text, runs it and waits for all of it."""
        model, text = await self.type(tab)
        await self.run(tab, model, text)

    async def type(self, tab: Tab) -> tuple[str, str]:
        """A model, and a text that nobody had before, typed in two parts."""
        model = self._random.choice(self._models)
        await tab.set("Model", "string_value", model)
        start = next(self._starts)
        words = list(itertools.islice(itertools.cycle(PASSAGE), start, start + self._random.randint(*WORDS)))
        text = " ".join([*words, str(start)])
        await tab.set("Text", "string_value", " ".join(words))
        await asyncio.sleep(TYPING)
        await tab.set("Text", "string_value", text)
        return model, text

    async def run(self, tab: Tab, model: str, text: str) -> None:
        """Presses Run and waits until every token is coloured."""
        started = time.perf_counter()
        await tab.until(lambda: tab.has("Run"), "Run")
        await tab.press("Run")
        name = f"“{text}” on {Path(model).name} at {self._fidelity}%"
        first = await tab.until(lambda: any(cell["found"] for cell in tab.cells(text, self._fidelity)), name)
        last = await tab.until(lambda: coloured(tab.cells(text, self._fidelity)), f"all of {name}")
        self._seen.first.setdefault(model, []).append(first - started)
        self._seen.last.setdefault(model, []).append(last - started)

    async def ask_and_stop(self, tab: Tab) -> None:
        """Runs a text and stops it soon after, if it is not done by then."""
        _, text = await self.type(tab)
        await tab.until(lambda: tab.has("Run"), "Run")
        await tab.press("Run")
        await asyncio.sleep(self._random.uniform(0.1, 1.0))
        started = time.perf_counter()
        if await tab.press("Stop"):
            ended = await tab.until(lambda: not tab.has("Stop"), f"the end of “{text}”, which was stopped")
            self._seen.stopped.append(ended - started)

    async def change_under_way(self, tab: Tab) -> None:
        """Runs a text, and another before the first is done."""
        await self.type(tab)
        await tab.until(lambda: tab.has("Run"), "Run")
        await tab.press("Run")
        await asyncio.sleep(self._random.uniform(0.0, 0.7))
        await self.ask(tab)

    async def move(self, tab: Tab) -> None:
        """Runs a text, and asks the same at another fidelity, which is answered without Run."""
        model, text = await self.type(tab)
        await self.run(tab, model, text)
        self._fidelity = self._random.choice([share for share in range(55, 95, 5) if share != self._fidelity])
        started = time.perf_counter()
        await tab.set("Fidelity", "double_array_value", [self._fidelity / 100])
        name = f"“{text}” at {self._fidelity}%"
        self._seen.moved.append(await tab.until(lambda: coloured(tab.cells(text, self._fidelity)), name) - started)

    async def leave(self, tab: Tab) -> None:
        """Runs a text and closes the tab."""
        await self.type(tab)
        await tab.press("Run")
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        await self.drop()


def coloured(cells: Sequence[dict[str, Any]]) -> bool:
    """Whether every token but the first, which nothing predicts, is."""
    return len(cells) > 1 and all(cell["found"] for cell in cells[1:])


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of it: what people saw, the server's resident bytes once a second, and its complaints in the log."""

    seen: Seen
    people: int
    seconds: float
    memory: tuple[int, ...]
    log: tuple[str, ...]

    @property
    def warm(self) -> float:
        """Bytes after the warm-up, averaged."""
        start = int(WARM_UP * len(self.memory))
        return statistics.mean(self.memory[start : start + WINDOW])

    @property
    def end(self) -> float:
        """Bytes at the end, averaged."""
        return statistics.mean(self.memory[-WINDOW:])

    @property
    def faults(self) -> list[str]:
        """Everything that should not have been."""
        return [*self.seen.errors, *(f"lost: {one}" for one in self.seen.lost), *self.log]


async def soak(address: str, server: psutil.Process, models: Sequence[str], people: int, seconds: float) -> Soaked:
    """Has ``people`` use the app at ``address`` for so long, once the first of them has found the engine started."""
    seen, memory, starts = Seen(), [], itertools.count(0, 7)
    first = Person(address, models, seen, people, starts)
    await first.come(START)
    await first.drop()
    began = time.perf_counter()
    living = [
        asyncio.create_task(Person(address, models, seen, seed, starts).live(began + seconds)) for seed in range(people)
    ]
    while not all(task.done() for task in living):
        if time.perf_counter() < began + seconds:
            memory.append(server.memory_info().rss)
        await asyncio.sleep(1)
    for task in living:
        task.result()
    return Soaked(seen, people, seconds, tuple(memory), ())


@contextmanager
def small_models() -> Iterator[list[str]]:
    """Folders of tiny random models, of two sizes."""
    from tests.conftest import byte_level_tokenizer
    from tests.tiny import LLAMA, tiny

    with tempfile.TemporaryDirectory() as place:
        folders = []
        for layers in (3, 5):
            tokenizer = byte_level_tokenizer()
            folder = Path(place) / f"tiny-{layers}"
            tokenizer.save_pretrained(folder)
            changes = {"vocab_size": len(tokenizer), "max_position_embeddings": 1024, "num_hidden_layers": layers}
            tiny(LLAMA, **changes).model.save_pretrained(folder)
            folders.append(str(folder))
        yield folders


def server_of() -> psutil.Process:
    """The app that this process serves."""
    return next(one for one in psutil.Process().children() if "pages.parts.serve" in one.cmdline())


def soak_served(people: int, seconds: float, real: bool) -> Soaked:
    """Serves the app, on loopback and with nothing kept, and has people use it; ``real``: the default model too."""
    with small_models() as small, nothing_kept() as place:
        log = place / "log.txt"
        models = [*small * (SMALL // len(small)), DEFAULT] if real else small
        with served(log, DENSITY_HOME=str(place), **LIMITS) as address:
            server = server_of()
            found = asyncio.run(soak(address, server, models, people, seconds))
        said = log.read_text(encoding="utf-8").splitlines()
        complaints = [line for line in said if "Traceback" in line or "Error" in line]
        return Soaked(found.seen, people, seconds, found.memory, tuple(complaints))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed."""
    return sorted(values)[max(0, -(-len(values) * int(100 * share) // 100) - 1)]


def table_of(found: Soaked) -> Table:
    """One line a figure."""
    title = f"{found.people} people for {found.seconds:.0f} s, this machine"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("what")
    for name in ("count", "median", "p95", "most"):
        table.add_column(name, justify="right")

    def seconds(what: str, values: Sequence[float]) -> None:
        if values:
            figures = (statistics.median(values), percentile(values, 0.95), max(values))
            table.add_row(what, str(len(values)), *(f"{value:.2f} s" for value in figures))

    everything = [value for values in found.seen.first.values() for value in values]
    seconds("Run to the first coloured token", everything)
    for model in sorted(found.seen.first):
        seconds(f"  {Path(model).name}", found.seen.first[model])
    seconds("Run to the last", [value for values in found.seen.last.values() for value in values])
    seconds("another fidelity", found.seen.moved)
    seconds("Stop to stopped", found.seen.stopped)
    table.add_row("acts", str(sum(found.seen.acts.values())))
    table.add_row("errors", str(len(found.seen.errors) + len(found.log)))
    table.add_row("lost results", str(len(found.seen.lost)))
    table.add_row("server after warm-up", "", f"{found.warm / 1e6:.0f} MB")
    table.add_row("server at the end", "", f"{found.end / 1e6:.0f} MB ({found.end / found.warm - 1:+.1%})")
    return table


def main() -> int:
    """Prints the table, and what went wrong; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180, help="at most 600")
    parser.add_argument("--small", action="store_true", help="only tiny random models")
    given = parser.parse_args()
    if not given.small:
        fetch(DEFAULT)
    found = soak_served(given.people, min(given.seconds, 600), not given.small)
    Console(width=120).print(table_of(found))
    for fault in found.faults:
        print(fault, file=sys.stderr)
    return int(bool(found.faults) or found.end > (1 + FLAT) * found.warm)


if __name__ == "__main__":
    sys.exit(main())
