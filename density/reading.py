"""One text read by one model: its tokens, the full run, and every replay measured on it so far."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from density.errors import BadInput, TooLarge
from density.fidelity import in_float64, probabilities, total_variation
from density.importance import FullRun, run_whole
from density.memory import free_bytes
from density.models import Model
from density.replay import KeepTraces, replay_together
from density.traces import Trace, Traces, edge_budget

MAX_TOKENS = 512
REPLAY_BYTES = 96 * 2**20
# Attention patterns of a layer that making its importances, or sorting them, takes at once.
WORKING = 5


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text; ``text`` is what it adds to the decoded text."""

    index: int
    id: int
    text: str


@dataclass(frozen=True, slots=True)
class Point:
    """One measured replay: a trace and the total variation of its distribution from the full model's."""

    trace: Trace
    total_variation: float


@dataclass
class Reading:
    """A text, the model's full run on it, and what has been measured; replays are kept, so none is run twice.

    Attributes:
        model: The model that read it.
        text: As given.
        rule: Importance rule.
        tokens: As the tokenizer's defaults make them.
        ids: Their ids, on the model's device.
        run: Importances and outputs of the full run.
        points: Measured replays by position and number of edges.
        replay_bytes: Bound on a batch of replays' working memory; `replay_budget` of the model's device by default.
        controls: What the controls of a trace came to, by position and number of edges, once they have been replayed.
        described: What `density.profile` says of the full model's distribution at a position, once it has been asked.
    """

    model: Model
    text: str
    rule: str
    tokens: tuple[Token, ...]
    ids: Int[Tensor, " position"]
    run: FullRun
    points: dict[tuple[int, int], Point] = field(default_factory=dict)
    controls: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    replay_bytes: int | None = None
    described: dict[int, Any] = field(default_factory=dict)
    _traces: Traces | None = None
    _sized: dict[tuple[int, int], Trace] = field(default_factory=dict)

    def traces(self, positions: Iterable[int]) -> Traces:
        """The traces of the predictions at ``positions``, and perhaps of more."""
        wanted = sorted(set(positions))
        if self._traces is None:
            self._traces = Traces(self.run.importances, wanted)
        elif not self._traces.index.keys() >= set(wanted):
            self._traces = self._traces.covering(sorted({*wanted, *self._traces.positions}))
        return self._traces

    def of_sizes(self, wanted: Sequence[tuple[int, float]]) -> list[Trace]:
        """For each (position, size), the largest trace of at most that size."""
        full = self.traces(position for position, _ in wanted).edges_full
        return self.of_edges([(position, edge_budget(size, full[position])) for position, size in wanted])

    def of_edges(self, wanted: Sequence[tuple[int, int]]) -> list[Trace]:
        """For each (position, edges), the largest trace of at most so many edges."""
        traces = self.traces(position for position, _ in wanted)
        fresh = sorted(set(wanted) - self._sized.keys())
        if fresh:
            found = traces.largest([position for position, _ in fresh], [most for _, most in fresh])
            self._sized.update(zip(fresh, found, strict=True))
        return [self._sized[key] for key in wanted]

    @torch.no_grad()
    def full_logits(self, positions: Sequence[int]) -> Float[Tensor, "prediction vocab"]:
        """The full model's logits, in float64; where, see `density.fidelity.in_float64`."""
        return in_float64(self.model.decoder.unembed(self.run.outputs[list(positions)]))

    def full_probabilities(self, positions: Sequence[int]) -> Float[Tensor, "prediction vocab"]:
        """The full model's next-token distributions, in float64."""
        return probabilities(self.full_logits(positions), positions)

    @torch.no_grad()
    def empty_probabilities(self) -> Float[Tensor, " vocab"]:
        """What the empty trace predicts anywhere: the final norm and the head on a zero state."""
        decoder = self.model.decoder
        zero = torch.zeros_like(self.run.outputs[:1])
        return probabilities(decoder.unembed(decoder.final_norm()(zero)))[0]

    def replayed_probabilities(self, traces: Sequence[Trace]) -> Float[Tensor, "trace vocab"]:
        """The next-token distributions that ``traces`` alone produce, in float64; one batch."""
        covering = self.traces(trace.position for trace in traces)
        keeps = [KeepTraces(covering, group) for group in of_like_length(traces)]
        logits = replay_together(self.model.decoder, self.ids, keeps, self.run.importances.experts)
        return probabilities(logits, [trace.position for trace in traces])

    def known(self, trace: Trace) -> Point | None:
        """The point of ``trace`` if it has been measured; the full graph is 0 from itself by definition."""
        if trace.edges == trace.edges_full:
            return Point(trace, 0.0)
        return self.points.get((trace.position, trace.edges))

    def measured(self, trace: Trace) -> Point:
        """The point of ``trace``, which has been measured."""
        point = self.known(trace)
        assert point is not None
        return point

    def record(self, trace: Trace, distance: float) -> Point:
        """Keeps the measured total variation of ``trace``."""
        self.points[trace.position, trace.edges] = Point(trace, distance)
        return self.points[trace.position, trace.edges]

    def measure(self, traces: Iterable[Trace], check: Callable[[], None] = lambda: None) -> Iterator[Point]:
        """Replays what is not known yet, in batches of like length; yields each batch's points as they come.

        ``check`` is called before every batch; what it raises stops the work, and what was measured is kept.
        """
        fresh = {(trace.position, trace.edges): trace for trace in traces if self.known(trace) is None}
        for batch in self.batches(sorted(fresh.values(), key=lambda trace: (trace.position, trace.edges))):
            check()
            full = self.full_probabilities([trace.position for trace in batch])
            distances = total_variation(full, self.replayed_probabilities(batch)).tolist()
            for trace, distance in zip(batch, distances, strict=True):
                yield self.record(trace, distance)

    def batches(self, traces: Sequence[Trace]) -> Iterator[list[Trace]]:
        """Cuts ``traces``, ascending in position, so that a batch's working memory stays within ``replay_bytes``."""
        batch: list[Trace] = []
        for trace in traces:
            if batch and len(batch) >= self.fitting(trace.position + 1):
                yield batch
                batch = []
            batch.append(trace)
        if batch:
            yield batch

    def fitting(self, length: int) -> int:
        """How many predictions of ``length`` tokens are replayed as one batch; one at least, whatever that takes."""
        limit = replay_budget(self.model.decoder.device) if self.replay_bytes is None else self.replay_bytes
        return max(1, limit // self.item_bytes(length))

    def item_bytes(self, length: int) -> int:
        """Working memory of replaying one prediction of ``length`` tokens: attention, MLP and a few states."""
        decoder = self.model.decoder
        attention = 14 * decoder.heads * length * length
        return attention + 4 * length * (3 * decoder.d_neuron + 8 * decoder.d_model)


def of_like_length(traces: Sequence[Trace]) -> list[list[Trace]]:
    """``traces``, in their order, cut where their length has changed by more than a quarter, and more than 8 tokens."""
    groups: list[list[Trace]] = []
    for trace in traces:
        first = groups[-1][0].position if groups else 0
        if not groups or abs(trace.position - first) > max(7, first // 4):
            groups.append([])
        groups[-1].append(trace)
    return groups


def read(
    model: Model,
    text: str,
    *,
    rule: str = "l1",
    max_tokens: int = MAX_TOKENS,
    memory: int | None = None,
) -> Reading:
    """Runs ``model`` whole on ``text``; everything else is measured from what this returns.

    Args:
        model: A loaded model.
        text: Tokenised with the tokenizer's own defaults.
        rule: Importance rule, see `density.importance.RULES`.
        max_tokens: Longest text taken.
        memory: Bytes the importances may take; half of what is free by default.

    Raises:
        BadInput: Empty or blank text, a lone surrogate, more than ``max_tokens`` tokens, an unknown rule.
        TooLarge: The importances would not fit in ``memory``; the message has both numbers.
        NotFinite: The run overflowed.
    """
    return read_ids(model, text, tokenise(model, text, max_tokens), rule, memory)


def read_ids(model: Model, text: str, ids: Sequence[int], rule: str, memory: int | None = None) -> Reading:
    """`read`, of a text whose tokens are known."""
    limit = free_bytes(model.decoder.device) // 2 if memory is None else memory
    wanted = importance_bytes(model, len(ids))
    if wanted > limit:
        raise TooLarge(
            f"the importances of {len(ids)} tokens take {wanted / 2**20:,.0f} MiB and {limit / 2**20:,.0f} MiB may be "
            "used; shorten the text, or free memory."
        )
    placed = torch.tensor(ids, device=model.decoder.device)
    run = run_whole(model.decoder, placed, rule)
    return Reading(model, text, rule, split_text(model.tokenizer, ids), placed, run)


def extend(reading: Reading, token: int) -> Reading:
    """The text of ``reading`` with one more token, read anew.

    Raises:
        BadInput: It would be longer than the model reads.
    """
    model, ids = reading.model, [*reading.ids.tolist(), token]
    longest = getattr(model.decoder.config, "max_position_embeddings", None) or len(ids)
    if len(ids) > longest:
        raise BadInput(f"the text has grown to {len(ids)} tokens and the model reads {longest} at most.")
    return read_ids(model, model.tokenizer.decode(ids), ids, reading.rule)


def tokenise(model: Model, text: str, max_tokens: int = MAX_TOKENS) -> list[int]:
    """The token ids of ``text``; raises `BadInput` for a text that cannot be worked with."""
    if not text.strip():
        raise BadInput("the text is empty or blank; type at least one word.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"character {error.start} of the text is half of a surrogate pair (U+{ord(text[error.start]):04X}), "
            "which is no character; remove it or decode the text again."
        ) from None
    ids = model.tokenizer(text, verbose=False)["input_ids"]
    if not ids:
        raise BadInput("the tokenizer makes no token of this text: it has none for its characters; type another.")
    if max(ids) >= model.decoder.config.vocab_size:
        raise BadInput(
            f"the tokenizer makes token {max(ids)} of this text and the model has {model.decoder.config.vocab_size}: "
            "they do not belong together, or the text holds a token the model never had."
        )
    longest = min(max_tokens, getattr(model.decoder.config, "max_position_embeddings", None) or max_tokens)
    if len(ids) > longest:
        raise BadInput(f"the text has {len(ids)} tokens and the limit is {longest}; shorten it or raise the limit.")
    return ids


def split_text(tokenizer, ids: Sequence[int]) -> tuple[Token, ...]:
    """What each token adds to the decoded text; a character in several tokens belongs to the one that completes it."""
    tokens, before, whole = [], "", decoded(tokenizer, ids)
    for index, token in enumerate(ids):
        text = decoded(tokenizer, ids[: index + 1])
        # Half a character is decoded to U+FFFD; a whole U+FFFD, which a text may have, is there in the end too.
        while text.endswith("\N{REPLACEMENT CHARACTER}") and not whole.startswith(text):
            text = text[:-1]
        tokens.append(Token(index, token, text[len(before) :]))
        before = text if len(text) > len(before) else before
    return tuple(tokens)


def token_text(tokenizer: Any, token: int) -> str:
    """What a token adds to a text that it does not begin: some tokenizers drop the space that a text begins with."""
    return decoded(tokenizer, [token, token])[len(decoded(tokenizer, [token])) :]


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ``ids``, with nothing left out or tidied up."""
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def importance_bytes(model: Model, length: int) -> int:
    """Memory of the importances of a text of ``length`` tokens: kept as they are and sorted, made a layer at a time."""
    decoder = model.decoder
    number = 8 if decoder.dtype == torch.float64 else 4
    return (2 * decoder.layers + WORKING) * number * decoder.heads * length * length


def replay_budget(device: torch.device) -> int:
    """Bytes a batch of replays may work in: on a CPU, enough to fill its matrices; else a quarter of what is free."""
    return REPLAY_BYTES if device.type == "cpu" else max(REPLAY_BYTES, free_bytes(device) // 4)
