"""A corpus: texts from a file or the sample, measured in the background into a dataset, and taken home."""

from typing import TYPE_CHECKING

import streamlit as st

from density.errors import DensityError
from density.limits import limits
from density.serving.jobs import Snapshot, Status
from density.serving.question import DEFAULT_MODEL, POSITIONS, Question
from pages.parts import datasets, engine
from pages.parts.inputs import ask_fidelity, ask_method, counted, duration, model_refusal
from pages.parts.page import KEPT, go_to, init, literal, sentence
from pages.parts.shared_inputs import ask_models, complained, said_fetching

if TYPE_CHECKING:
    from density.corpus.sources import Text
    from density.serving.corpora import Request
    from density.serving.service import Service

PAGE = "corpus-"
POLL_SECONDS = 0.4
SAMPLE, FILE = "the sample", "a file"
TYPES = ["txt", "tsv", "csv", "jsonl", "parquet"]
MOST_SHOWN = 50
ABOUT = (
    "Many texts by one or several models, a row for each prediction, in a dataset that any reader of Parquet opens. "
    "What is measured is kept text by text: stopped, or asked for again with the same settings, a run goes on."
)
SAMPLE_HELP = (
    "The texts that come with this explorer: prose, verse, dialogue, code, mathematics, other languages, rare words "
    "and minimal pairs, each with its source."
)
FILE_HELP = (
    "In UTF-8: .txt has one text a line; of the others a column holds the texts. Columns id, theme, pair and language "
    "are carried along."
)
COLUMN_HELP = (
    "The column with the texts. Unless one is chosen it is text or context; a .tsv or .csv whose first line has "
    "neither has no header, and its texts are the first column."
)
POSITIONS_HELP = "Which predictions of every text: the one after its last token, those of its last 16, or all."
CONTROLS_HELP = (
    "At each size of a sweep also as many edges grown at random, and all edges but the trace's: three times as many "
    "replays."
)
LIMIT_HELP = "So many of the texts, drawn with the seed: the same ones every time."
SEED_HELP = "Of the draw, and of the random control."
FINDINGS_HELP = "The papers' claims and figures, as this data has them."
COMMAND_HELP = "Where this project is installed it makes the same dataset; with --workers or --dask on more machines."


def main() -> None:
    """The page."""
    init()
    st.title("Corpus")
    st.caption(ABOUT)
    service = engine.required()
    if service.limits.read_only:
        st.info("This server keeps nothing for its visitors: measure corpora by the command line elsewhere.")
        return
    request = ask(service)
    if request is not None:
        offer_run(service, request)
    if f"{PAGE}job" in st.session_state:
        asked, job = st.session_state[f"{PAGE}job"]
        if request is None or asked.name != request.name:
            st.caption(f"Below is the run that was asked for before: {literal(asked.name)}.")
        running = not job.poll().finished
        st.fragment(follow, run_every=POLL_SECONDS if running else None)(asked, running)


def ask(service: "Service") -> "Request | None":
    """Draws the widgets; returns what they ask, or ``None`` after saying what is lacking."""
    from density.corpus.rows import Measure
    from density.serving.corpora import Request

    for name in ("fidelity", "rule", "max_tokens"):
        st.session_state.setdefault(PAGE + name, getattr(Question(), name))
    st.session_state[f"{PAGE}max_tokens"] = min(st.session_state[f"{PAGE}max_tokens"], limits().tokens)
    st.session_state.setdefault(f"{PAGE}search", "lattice")
    offers = service.catalogue()
    st.session_state.setdefault(f"{PAGE}models", [name for name in (DEFAULT_MODEL, *offers) if name in offers][:1])
    with st.sidebar:
        accepted = ask_models(offers, service.in_memory(), f"{PAGE}models", None)
        fidelity = ask_fidelity(PAGE)
        positions = st.segmented_control(
            *("Predictions", list(POSITIONS)[::-1]),
            format_func=POSITIONS.__getitem__,
            key=f"{PAGE}positions",
            default="last",
            required=True,
            help=POSITIONS_HELP,
            **KEPT,
        )
        method = ask_method(PAGE)
        sweep = method["sweep"]
        controls = st.checkbox("Controls", key=f"{PAGE}controls", disabled=not sweep, help=CONTROLS_HELP, **KEPT)
        seed = st.number_input("Seed", 0, 10**6, 0, step=1, key=f"{PAGE}seed", help=SEED_HELP, **KEPT)
    found = ask_texts(seed)
    if found is None:
        return None
    source, texts, column = found
    if not accepted:
        st.warning("No model is chosen; choose one or more in the side bar.")
        return None
    measure = Measure(
        positions or "last", fidelity, sweep, sweep and controls, seed, method["rule"], method["max_tokens"]
    )
    agreed = frozenset(name for name, terms in accepted.items() if terms)
    return Request(source, tuple(texts), tuple(accepted), measure, column, agreed)


def ask_texts(seed: int) -> "tuple[str, list[Text], str | None] | None":
    """The name of the texts' source, the texts and the column chosen; ``None`` after saying what is lacking."""
    kind = st.segmented_control(
        "Texts", [SAMPLE, FILE], default=SAMPLE, key=f"{PAGE}source", required=True, help=SAMPLE_HELP, **KEPT
    )
    name, content, column = "sample", b"", None
    if kind == FILE:
        st.file_uploader("File", TYPES, key=f"{PAGE}file", help=FILE_HELP, on_change=keep_file)
        if f"{PAGE}given" not in st.session_state:
            st.info("Choose a file with texts.")
            return None
        name, content = st.session_state[f"{PAGE}given"]
        if st.session_state[f"{PAGE}file"] is None:
            st.caption(f"{literal(name)}, as it was uploaded before; another takes its place.")
        columns = datasets.columns_of(name, content)
        if columns:
            column = st.selectbox(
                *("Column", columns),
                index=None,
                key=f"{PAGE}column",
                help=COLUMN_HELP,
                placeholder="text, context, or the first",
            )
    limit = st.number_input(
        "Texts at most", 1, 10**6, None, step=1, key=f"{PAGE}limit", help=LIMIT_HELP, placeholder="all", **KEPT
    )
    try:
        return name, datasets.read_texts(name, content, column, limit, seed), column
    except DensityError as error:
        st.error(literal(sentence(error)))
        return None


def keep_file() -> None:
    """Keeps what was uploaded for as long as the session, or lets it go; the widget forgets it on another page."""
    given = st.session_state[f"{PAGE}file"]
    if given is None:
        st.session_state.pop(f"{PAGE}given", None)
    else:
        st.session_state[f"{PAGE}given"] = (datasets.safe(given.name), given.getvalue())


def offer_run(service: "Service", request: "Request") -> None:
    """What a run will measure, the button, and the command that does the same."""
    from density.findings.data import command
    from density.serving.corpora import finished, measure_corpus

    total = len(request.texts) * len(request.models)
    button, outlook = st.columns([1, 5], vertical_alignment="center")
    run = button.button("Run", type="primary", width="stretch", key=f"{PAGE}run")
    done = finished(request)
    there = f" {done} of {total} are there already." if done else ""
    texts, models = counted(len(request.texts), "text"), counted(len(request.models), "model")
    what = f"{texts} by {models}: {total - done} to measure."
    with outlook:
        st.caption(literal(f"{what}{there} Dataset {request.name}."))
        offers, questions = service.catalogue(), request.questions
        possible = not complained(service, offers, questions, model_refusal)
        if possible:
            said_fetching(offers, questions)
    if run and possible:
        before = st.session_state.get(f"{PAGE}job")
        if before is not None:
            before[1].cancel()
        try:
            job = measure_corpus(service, request, engine.visitor())
        except DensityError as error:
            st.error(literal(sentence(error)))
            return
        st.session_state[f"{PAGE}job"] = (request, job)
    with st.expander("The command line that does the same"):
        settings = {**request.settings, "opened": {}}
        st.code(command(request.name, settings), language="bash", wrap_lines=True)
        st.caption(COMMAND_HELP)


def follow(request: "Request", running: bool) -> None:
    """One look at the run; the page is drawn again when it has ended."""
    seen = st.session_state[f"{PAGE}job"][1].poll()
    if running and seen.finished:
        st.rerun()
    if not seen.finished:
        show_progress(seen)
        return
    if seen.status is Status.FAILED:
        st.error(literal(sentence(seen.error or "")))
    elif seen.status is Status.STOPPED:
        st.info("Stopped. What is finished is kept: Run goes on from there.")
    else:
        st.success(f"Finished in {duration(seen.seconds)}.")
    try:
        show_result(request, datasets.fingerprint(request.folder))
    except (DensityError, OSError) as error:
        if seen.status is not Status.FAILED:
            st.error(literal(sentence(error)))


def show_progress(seen: Snapshot) -> None:
    """How far a run is, and the button that stops it."""
    bar, button = st.columns([5, 1], vertical_alignment="center")
    progress = seen.subject
    with bar:
        st.progress(progress.share if progress else 0.0, text=literal(sentence(doing(seen))))
    if button.button("Stop", width="stretch", key=f"{PAGE}stop"):
        st.session_state[f"{PAGE}job"][1].cancel()
        st.rerun(scope="fragment")


def doing(seen: Snapshot) -> str:
    """A running job's status in words."""
    if seen.status is Status.QUEUED:
        return f"waiting, {seen.ahead} before this" if seen.ahead else "waiting"
    if seen.subject is None:
        return seen.stage or "starting"
    progress = seen.subject
    said = f"{progress.stage}: {progress.before + progress.now} of {progress.total} texts"
    if progress.left is not None:
        said += f", {60 * progress.rate:.2g} a minute, {duration(progress.left)} left"
    return f"{said}. It goes on while this tab is open"


def show_result(request: "Request", files: tuple[tuple[str, int], ...]) -> None:
    """What there is of a dataset: how much, what failed, the files, and the way to its findings."""
    frame = datasets.read_states(str(request.folder), files)
    failed = frame[frame["error"].notna()]
    measured = frame[frame["error"].isna()]
    if frame.empty:
        return
    texts = measured["text_id"].nunique()
    st.markdown(f"**{len(measured):,} predictions of {counted(texts, 'text')}** in {literal(request.name)}")
    if len(failed):
        st.warning(f"{counted(len(failed), 'text')} could not be measured; their rows say why.")
        shown = failed[["model", "text_id", "error"]].head(MOST_SHOWN)
        st.dataframe(shown, hide_index=True, alt="Texts that could not be measured")
    if measured.empty:
        return
    with st.container(horizontal=True):
        datasets.offer_table(request.folder)
        if st.button("Findings", key=f"{PAGE}findings", type="primary", help=FINDINGS_HELP):
            st.session_state["findings-asked"] = [request.name]
            go_to("findings", "Findings")


main()
