"""The method: what the numbers mean, a worked example, what the papers found, and what none of it shows."""

import json
from typing import Any

import streamlit as st

from density.charts import curve_chart
from density.document import parse_profile
from density.view import percent, visible
from pages.parts.page import ASSETS, dark, init, literal

KINDS = {"residual": "that carry a state on", "head": "of heads", "mlp": "of MLPs"}
# The figures of the example; the commands that wrote them are on the page.
EXAMPLE = ASSETS / "method"
COMMANDS = """\
density profile --model smollm2-135m --text "The capital of France is" --sweep --json assets/method/profile.json
density trace --model smollm2-135m --text "The capital of France is" --position -1 --fidelity 0.8 --edges 3 \\
  --controls --json assets/method/trace.json"""

WORDS = """\
A language model reads a text token by token and keeps, for every token, a list of numbers that its layers add to: the
token's **state**. Every layer writes into it twice: its attention heads bring in what they read from this and earlier
tokens, then its MLP adds what it makes of the state. The state as it was is carried on beside both.

Each such write is an **edge** from one state to a later one. All edges that can reach one prediction are its **full
graph**. A **trace** is a part of that graph. To **replay** a trace is to run the model with every other edge cut, and
to see what it predicts then.

The **density** of a prediction is the size of the smallest trace found whose replay still predicts nearly the same,
as a share of the full graph. Nearly: its probabilities of the next token differ from the whole model's by a **total
variation** (half the summed difference) of at most 1 minus the **fidelity** that you set."""

# What is reported, where, and on which page it is looked at here.
CLAIMS = (
    (
        "Computation is dense rather than sparse, and its density varies with the input",
        "v1: 13 models, 0.5B to 13B",
        "**Explorer**: the heatmap of any text. **Corpus** measures many, **Findings** says how much they vary",
    ),
    (
        "Fidelity is built up over sizes of 0.01% to 1% and refined from 1% to 100%; in 7B to 14B models about 0.1% of "
        "the graph finds the top token",
        "s-Trace",
        "**Explorer**: the curve of a prediction; small models need far more. **Findings**: both phases",
    ),
    (
        "The same inputs are dense for different models: Spearman 0.26 to 0.71, mean about 0.52",
        "v1 and s-Trace: 5,000 contexts, 10 models",
        "**Compare**: several models on one text, word by word, or on a corpus",
    ),
    (
        "Rarer tokens take more",
        "v1",
        "**Rare tokens**: density against frequency in a text or a corpus, and a word swapped for rarer ones",
    ),
    (
        "Longer contexts often take less",
        "v1",
        "**Context**: one prediction with its context growing, and a corpus by context length",
    ),
    (
        "Density goes with the model's own uncertainty",
        "s-Trace",
        "**Explorer**: tint by entropy, then by density. **Rare tokens** and **Findings**: their correlation",
    ),
    (
        "Small traces sit in early layers and hold what is true of all text; attention comes late",
        "s-Trace",
        "**Explorer**: what a trace is made of, against its size. **Findings**: the same over a corpus",
    ),
)
SOURCES = """\
**v1** is *Sparse or Dense? A Mechanistic Estimation of Computation Density in Transformer-based LLMs*
(arXiv 2601.22795, January 2026), which its authors withdrew in April 2026 in favour of **s-Trace**, *Tracing
Computation Density in LLMs* (arXiv 2605.27033, 2026). Edges follow *Information Flow Routes* (Ferrando and Voita,
arXiv 2403.00824). These are the
papers' figures, not measured here: the **Corpus** page measures many texts, and **Findings** holds each claim
against them."""

LIMITS = """\
- A trace found is not the only one that would do, nor surely the smallest: edges are ranked by how much they write, and
  only sets of the strongest are tried.
- A cut edge is set to zero, which the model never met in training. Part of what is lost is due to the cutting itself;
  the random control and the complement show how much of it.
- Density says how much of the model a prediction takes, not what that part does, nor why.
- Total variation is over the next token alone: two runs that agree on it may differ in everything after.
- Sizes are searched on steps of about 10%, so a density is known to within one step, and a full
  sweep's to within one of its 27 sizes; the other end is shown beside it.
- The models that fit on a laptop are small and denser than large ones. What is seen here need not hold for those.
- Biases of the output projections belong to no edge, and are kept wherever some attention is."""


def main() -> None:
    """The page."""
    init()
    st.title("Method")
    st.markdown(WORDS)
    show_example()
    st.header("What the papers found", divider="gray")
    rows = [("what they report", "where", "what to look at here"), ("---",) * 3, *CLAIMS]
    st.markdown("\n".join(f"| {' | '.join(row)} |" for row in rows))
    st.markdown(SOURCES)
    st.header("What this does not show", divider="gray")
    st.markdown(LIMITS)


def show_example() -> None:
    """Five tokens, from the text to a density."""
    profile = parse_profile((EXAMPLE / "profile.json").read_bytes())
    traced = json.loads((EXAMPLE / "trace.json").read_text(encoding="utf-8"))
    last, trace = profile["predictions"][-1], traced["traces"][0]
    best, second = last["top_tokens"][:2]
    tokens = " ".join(f"“{visible(token['text'])}”" for token in profile["tokens"])
    st.header("Five tokens, worked out", divider="gray")
    st.markdown(
        f"SmolLM2-135M, 30 layers of 9 heads, reads {literal(tokens)}. Every figure here was measured by this engine."
    )
    st.markdown(
        f"1. **The prediction.** The whole model expects {named(best)} and {named(second)}; its entropy is "
        f"{last['entropy']:.2f} nats.\n"
        f"2. **The full graph.** All layers but the last matter at all 5 tokens: 29 x (9 heads x 15 pairs of tokens "
        f"+ 3 x 5 for MLP and carried states) = 4,350 edges. The last matters at the last token alone: 9 x 5 + 3 = 48. "
        f"Together {last['edges_full']:,}.\n"
        f"3. **Importance.** Of everything written into one state, an edge's importance is its share by size. The "
        f"first to enter the trace is {strongest(trace)}.\n"
        f"4. **A trace.** Cut at an importance of {trace['threshold']:.4f}, {trace['edges']:,} edges remain that are "
        f"connected to the prediction: {percent(trace['size'])} of the graph ({kinds(trace)}).\n"
        f"5. **Its replay.** Alone they predict {named(trace['top_tokens'][0])}: total variation "
        f"{trace['total_variation']:.3f}, fidelity {trace['fidelity']:.1%}. As many edges grown at random reach "
        f"{1 - trace['random']['total_variation']:.1%}, and all the others together "
        f"{1 - trace['complement']['total_variation']:.1%}.\n"
        f"6. **The density.** It is the smallest that the search found to keep {percent(profile['fidelity'])}; the "
        f"size looked at just below it does not. So the density of predicting the token after “·is” is "
        f"{percent(trace['size'])}."
    )
    chart = curve_chart(last["curve"], profile["fidelity"], trace["size"], dark=dark())
    st.altair_chart(chart, alt="Fidelity against size for the prediction after the fifth token")
    st.caption(
        "Fidelity of the replay against the size of the trace, for the prediction after the fifth token. Below about a "
        f"tenth of the graph nothing of the prediction is there. The area under total variation against size (AUC-TV), "
        f"which needs no fidelity to be set, is {last['auc_linear']:.3f}."
    )
    with st.expander("The commands that measured this"):
        st.code(COMMANDS, language="bash", wrap_lines=True)


def named(token: dict[str, Any]) -> str:
    """A token and its probability."""
    return f"“{literal(visible(token['text']))}” at {token['probability']:.1%}"


def strongest(trace: dict[str, Any]) -> str:
    """The first edge of a trace, in words."""
    edge = trace["strongest"][0]
    return f"`{edge['name']}`, the state carried past the last MLP, with {edge['importance']:.1%}"


def kinds(trace: dict[str, Any]) -> str:
    """How many edges of each kind."""
    return ", ".join(f"{count:,} {KINDS[kind]}" for kind, count in trace["by_kind"].items())


main()
