"""What came of a question: progress, the heatmap, the table, the files."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.measures import FREQUENCY, MEASURES, UNITS
from density.serving.jobs import Snapshot, Status
from density.serving.question import Question
from density.view import percent, table, table_csv
from pages.parts import examples, frequency, reopening, viewing
from pages.parts.heatmap import heatmap
from pages.parts.inputs import counted, duration
from pages.parts.page import KEPT, file_name, literal, sentence

if TYPE_CHECKING:
    from density.serving.service import Service

HELP = {
    "density": "The size of the smallest trace found whose replay reaches the fidelity: its share of all edges of the "
    "prediction's computation graph.",
    "below": "The next smaller size looked at (of a full sweep, of its 27), whose replay did not reach the fidelity: "
    "the density lies between.",
    "total_variation": "Half the summed difference between the next-token probabilities of the whole model and of the "
    "trace replayed alone; 0 is identical, 1 has nothing in common. Fidelity is 1 minus this.",
    "entropy": "How spread out the whole model's next-token probabilities are, in nats; 0 is certain.",
    "surprisal": "Minus the natural logarithm of the probability the whole model gave to the token that came.",
    "top_token": "The token the whole model finds likeliest next.",
    "top_probability": "Its probability in the whole model.",
    "edges_trace": "Edges of the trace found.",
    "edges_full": "Edges of the full graph: everything that can reach this prediction.",
    "threshold": "The importance at which the trace is cut.",
    "replays": "Replays run for this answer; those known from before are not counted.",
    "auc_linear": "AUC-TV: area under total variation against size, from the empty trace to the full graph.",
    "auc_log10": "The same with log10 of the size, from 1e-5 to 1, over 5.",
    "position": "Index of the last token that the prediction sees.",
    "context_token": "The last token that the prediction sees.",
    "next_token": "The token that came, and that is coloured by this row.",
    "full_replay_tv": "Total variation between the model run by the library it comes from and the full graph replayed "
    "by this engine, on this text: 0 but for rounding.",
    "max_state_error": "The largest difference between a state and the sum of the writes into it, or between a state "
    "and the library's, as a share of the layer's largest entry: 0 but for rounding.",
    "max_logit_error": "The largest difference between a logit of the full replay and the library's.",
}

TINT_HELP = (
    "Density and AUC-TV (the area under total variation against size, measured by a full sweep) are shares, on one "
    "scale; entropy and surprisal are in nats, on another, from 0 to 12 on every text. Frequency is of the token "
    "itself, on a third: log10 of how often it occurs in 10^9 tokens of a language."
)
UNIT_HELP = (
    "A word or a sentence has the mean over those of its tokens that have the number. A word begins at a space: "
    "punctuation belongs to the word it touches; a sentence ends at . ! ? or a line break."
)
POLL_SECONDS = 0.4
COLUMNS = {
    "position": ("sees up to", "%d"),
    "context_token": ("its token", None),
    "next_token": ("token predicted", None),
    "density": ("density", "percent"),
    "below": ("not enough", "percent"),
    "total_variation": ("total variation", "%.3f"),
    "entropy": ("entropy, nats", "%.2f"),
    "surprisal": ("surprisal, nats", "%.2f"),
    "top_token": ("likeliest token", None),
    "top_probability": ("its probability", "percent"),
    "edges_trace": ("edges in trace", "localized"),
    "edges_full": ("edges in all", "localized"),
    "threshold": ("threshold", "%.2e"),
    "replays": ("replays", "%d"),
    "auc_linear": ("AUC-TV", "percent"),
    "auc_log10": ("AUC-TV, log size", "percent"),
}


def show(question: Question, possible: bool) -> None:
    """The job's status and results; looked at again and again until it has finished.

    Args:
        question: What the widgets ask now; the job may still answer an earlier one.
        possible: Whether that can be run.
    """
    seen = st.session_state.job.poll()
    running, begun = not seen.finished, seen.subject is not None
    chosen = st.session_state.get("chosen")
    st.fragment(follow, run_every=POLL_SECONDS if running else None)(question, possible, running, begun, chosen)


def follow(question: Question, possible: bool, running: bool, begun: bool, chosen: int | None) -> None:
    """One look at the job; the page is drawn again when it has read the text, has finished, or a token is clicked."""
    seen = st.session_state.job.poll()
    if running and (seen.finished or begun != (seen.subject is not None)):
        st.rerun()
    if st.session_state.get("chosen") != chosen or "chosen-span" in st.session_state:
        st.rerun()
    show_state(seen)
    # Until there is something of its answer, the one before it stays.
    if seen.subject is not None:
        st.session_state.answer = seen
    if shows_example(question):
        show_example(question)
        return
    if "answer" not in st.session_state:
        return
    answer = st.session_state.answer
    document = answer.subject.document(answer.results)
    if answer.subject.question != question:
        asked = answer.subject.question
        before = f"Below is the answer to what was asked before, of {literal(asked.model)} at {percent(asked.fidelity)}"
        before += "; press Run for what is asked now." if possible else "."
        st.caption(reopening.described(document) if reopening.untouched(question) else before)
    waiting = set(answer.subject.wanted) - {found["position"] for found in answer.results}
    draw(document, () if answer.finished else waiting)


def shows_example(question: Question) -> bool:
    """Whether what is on the page was measured beforehand, as there is no answer to this text yet."""
    answer = st.session_state.get("answer")
    answered = answer is not None and answer.subject.question.text == question.text
    return not answered and examples.precomputed(question.text) is not None


def show_example(question: Question) -> None:
    """What was measured beforehand on an example, and how."""
    document = examples.precomputed(question.text)
    if document is None:
        return
    st.caption(
        f"**Precomputed** {examples.origin(document)}. "
        + ("" if examples.answers(document, question) else "**This is not what is asked now:** ")
        + "Run measures it here.",
        help=f"`{examples.command(document)}`",
    )
    draw(document, ())


def draw(document: Mapping[str, Any], pending: Collection[int]) -> None:
    """The heatmap, and what it is tinted by."""
    swept = document["search"] == "sweep"
    offered = [name for name, measure in MEASURES.items() if swept or not measure.swept]
    if st.session_state.get("tint") not in offered:
        st.session_state.tint = offered[0]
    st.session_state.setdefault("unit", UNITS[0])
    with st.container(horizontal=True, gap="medium"):
        measure = st.segmented_control(
            "Tint",
            offered,
            format_func=lambda name: MEASURES[name].label,
            key="tint",
            required=True,
            help=TINT_HELP,
            width="content",
            **KEPT,
        )
        unit = st.segmented_control("By", UNITS, key="unit", required=True, help=UNIT_HELP, width="content", **KEPT)
    zipf = frequency.zipf_of(document) if measure == FREQUENCY else None
    heatmap(document, pending, "chosen", measure or offered[0], unit or UNITS[0], zipf)
    viewing.publish()


def show_details(service: "Service") -> None:
    """What belongs to the whole answer at hand, once it is all there: the table, the files, and how exact it is."""
    answer = st.session_state.get("answer")
    if answer is not None and answer.finished and answer.results:
        document = answer.subject.document(answer.results)
        if service.store and service.store.trouble:
            st.warning(literal(f"Answers cannot be kept on this machine: {service.store.trouble}."))
        show_table(service, document)
        show_health(document)


def show_state(seen: Snapshot) -> None:
    """What the job is doing, or how it ended."""
    if not seen.finished:
        bar, button = st.columns([5, 1], vertical_alignment="center")
        with bar:
            st.progress(min(seen.done / seen.total, 1.0) if seen.total else 0.0, text=literal(doing(seen)))
        if button.button("Stop", width="stretch"):
            st.session_state.job.cancel()
            st.rerun(scope="fragment")
    elif seen.status is Status.FAILED:
        st.error(literal(sentence(seen.error or "")))
    elif seen.status is Status.STOPPED:
        found = f"{counted(len(seen.results), 'prediction')} found" if seen.results else "nothing was found yet"
        st.info(f"Stopped after {seen.seconds:.1f} s; {found}. What was measured is kept: Run goes on from there.")
    else:
        replays = sum(found["replays"] for found in seen.results)
        found = f"{counted(len(seen.results), 'prediction')}, {counted(replays, 'replay')}, {seen.seconds:.1f} s"
        asked = seen.subject.question
        st.caption(f"{found}, by {literal(asked.model)} at {percent(asked.fidelity)}.")


STAGES = {"download": "Downloading", "convert": "Converting", "load": "Loading the weights"}


def doing(seen: Snapshot) -> str:
    """A running job's status in words."""
    left = "" if seen.left is None else f"; about {duration(seen.left)} left"
    if seen.status is Status.QUEUED:
        return ("Waiting" + (f", {seen.ahead} before this" if seen.ahead else "")) + left
    if seen.subject is not None:
        found = f"{len(seen.results)} of {len(seen.subject.wanted)} predictions found"
        return f"Measuring: {found}, {seen.done:.0f} replays, {seen.seconds:.0f} s{left}"
    amount = f": {seen.done / 1e6:.0f} of {seen.total / 1e6:.0f} MB" if seen.total else ""
    return STAGES.get(seen.stage, sentence(seen.stage or "starting")) + amount


def show_table(service: "Service", document: dict[str, Any]) -> None:
    """The same as a table, and as files."""
    with st.expander("Table and files"):
        columns = {name: column(name, *given) for name, given in COLUMNS.items()}
        st.dataframe(table(document), column_config=columns, hide_index=True, alt="Predictions")
        name = file_name(document["model"])
        as_json, as_csv, _ = st.columns([1, 1, 3])
        view = viewing.saved()
        as_json.download_button(
            "JSON",
            lambda: service.dumps({**document, **view}),
            f"{name}.json",
            "application/json",
            on_click="ignore",
            help="Everything above, with what it takes to repeat it, and how it is looked at.",
            width="stretch",
        )
        as_csv.download_button(
            "CSV",
            lambda: table_csv(document),
            f"{name}.csv",
            "text/csv",
            on_click="ignore",
            help="The table; tokens are written as JSON strings.",
            width="stretch",
        )


def column(name: str, label: str, number_format: str | None) -> Any:
    """A column of the table, with its definition."""
    if number_format is None:
        return st.column_config.TextColumn(label, help=HELP[name])
    return st.column_config.NumberColumn(label, format=number_format, help=HELP[name])


def show_health(document: Mapping[str, Any]) -> None:
    """How exactly the engine reproduces the model on this text."""
    with st.expander("How exactly this is the model"):
        st.caption("Measured on this text, at its last prediction, before anything else.")
        columns = st.columns(3)
        labels = {
            "full_replay_tv": "Full graph against the model",
            "max_state_error": "Worst state",
            "max_logit_error": "Worst logit",
        }
        for place, (name, label) in zip(columns, labels.items(), strict=True):
            place.metric(label, f"{document['health'][name]:.1e}", help=HELP[name])
