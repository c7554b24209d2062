"""Every family equals its model and the reference: conserved, exact when nothing is cut, zero where all is.

What no family describes is refused.
"""

from collections import defaultdict

import pytest
import torch
import transformers

from density.errors import NotFinite, UnsupportedModel
from density.families import FAMILIES, family_for
from density.fidelity import probabilities, total_variation
from density.health import measure_health
from density.importance import run_whole
from density.replay import KeepTraces, replay, replay_states
from density.traces import Traces
from tests.pair import Pair
from tests.tiny import CASES, EVERY_CASE, SIZES, random_ids, tiny

LENGTHS = (1, 2, 50)
each_case = pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: f"{case.family}: {case.settings}")


@each_case
def test_the_full_graph_replayed_is_the_model_and_writes_add_up(case, families_table):
    family = tiny(case)
    for length in LENGTHS:
        ids = random_ids(length)
        importances = run_whole(family, ids).importances
        traces = Traces(importances, range(length))
        health = measure_health(family, ids, traces, importances.experts)
        assert health.max_logit_error <= 1e-4
        assert health.full_replay_tv <= 1e-5
        assert health.max_state_error <= 1e-5
        families_table(case, logit=health.max_logit_error, tv=health.full_replay_tv)


@each_case
def test_replays_of_every_size_are_the_references(case, families_table):
    pair = Pair(case, length=7, position=6, rule="l1")
    difference = max(abs(distance - theirs) for *_, distance, theirs in pair.replays())
    assert difference <= 1e-3
    families_table(case, reference=difference)


@each_case
def test_the_importances_into_every_state_sum_to_one(case):
    importances = run_whole(tiny(case), random_ids(17)).importances
    after_attention = importances.heads.clamp(min=0).sum((1, 3)) + importances.residual_attention
    into_mlp = importances.mlp.sum(-1)
    if importances.parallel:
        assert torch.allclose(after_attention + into_mlp, torch.ones_like(into_mlp), atol=1e-5)
    else:
        assert torch.allclose(after_attention, torch.ones_like(into_mlp), atol=1e-5)
        assert torch.allclose(into_mlp + importances.residual_mlp, torch.ones_like(into_mlp), atol=1e-5)


@each_case
@pytest.mark.parametrize("size", [0.1, 0.3])
def test_states_outside_a_trace_are_exactly_zero(case, size):
    family, ids, last = tiny(case), random_ids(17), 16
    importances = run_whole(family, ids).importances
    traces = Traces(importances, [last])
    trace = traces.of_size(last, size)
    paths = [traces.widest.mlp[0]] if importances.parallel else [traces.widest.attention[0], traces.widest.mlp[0]]
    outside = torch.stack(paths, 1).flatten(0, 1) < trace.level
    assert outside.any()
    replayed = replay_states(family, ids, KeepTraces(traces, [trace]), importances.experts)
    assert torch.equal(next(replayed)[0], family.embed(ids))
    for where, state in zip(outside, replayed, strict=True):
        assert (state[0][where] == 0).all()
        assert (state[0][~where] != 0).any()


@each_case
def test_a_batch_of_mixed_lengths_gives_what_each_item_gives_alone(case):
    family, ids = tiny(case), random_ids(17)
    importances = run_whole(family, ids).importances
    traces = Traces(importances, [4, 9, 16])
    batch = [traces.of_size(position, size) for position in (4, 9, 16) for size in (0.1, 0.6)]
    together = replay(family, ids, KeepTraces(traces, batch), importances.experts)
    alone = [replay(family, ids, KeepTraces(traces, [trace]), importances.experts)[0] for trace in batch]
    assert float(total_variation(probabilities(together), probabilities(torch.stack(alone))).max()) < 1e-5


@each_case
def test_half_precision_stays_near_and_never_gives_nan(case):
    ids = random_ids(17)
    exact = probabilities(tiny(case).model(ids[None]).logits[0, -1])
    for dtype, allowed in ((torch.bfloat16, 0.2), (torch.float16, 0.03)):
        family = tiny(case, dtype=dtype)
        importances = run_whole(family, ids).importances
        assert importances.heads.dtype == torch.float32
        traces = Traces(importances, [16])
        whole, half = (traces.of_size(16, size) for size in (1.0, 0.5))
        found = probabilities(replay(family, ids, KeepTraces(traces, [whole, half]), importances.experts))
        assert torch.isfinite(found).all()
        assert float(total_variation(found[0], exact)) < allowed


def test_squares_that_overflow_half_precision_do_not_reach_the_norms():
    # Entries of 2000 have squares of 4e6, far over float16's 65504; normed they are near 1.
    family = tiny(dtype=torch.float16)
    rows = torch.full((1, 24), 2000.0, dtype=torch.float16)
    normed = family.final_norm()(rows)
    assert torch.allclose(normed, family.model.model.norm.weight[None], rtol=2e-3)


def test_a_write_that_overflows_half_precision_stops_the_run_with_its_layer_and_token():
    family = tiny(dtype=torch.float16)
    family.model.model.layers[1].mlp.down_proj.weight.mul_(60000.0)
    with pytest.raises(
        NotFinite, match="the state after layer 1 at token 0 is not finite; half precision can overflow"
    ):
        run_whole(family, random_ids(5))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_is_covered_by_a_case(name):
    assert any(case.family == name for case in CASES)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (transformers.BloomConfig(), "no family for model_type='bloom'; supported: gemma2"),
        (transformers.LlamaConfig(**SIZES, novel_norm=True), "llama model with a setting nobody .* novel_norm=True"),
        (transformers.OPTConfig(do_layer_norm_before=False), "opt model with do_layer_norm_before=False"),
        (transformers.OlmoConfig(**SIZES, clip_qkv=3.0), "olmo model with clip_qkv=3.0"),
        (
            transformers.Gemma3TextConfig(attn_logit_softcapping=3.0),
            "gemma3_text model with attn_logit_softcapping=3.0",
        ),
        (transformers.Gemma2Config(use_bidirectional_attention=True), "gemma2 model with use_bidirectional_attention"),
        (transformers.Qwen2MoeConfig(mlp_only_layers=[0]), r"qwen2_moe model with mlp_only_layers=\[0\]"),
        (transformers.GPT2Config(add_cross_attention=True), "gpt2 model with a setting .* add_cross_attention=True"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.model_type,
)
def test_what_nobody_has_looked_at_is_refused_by_name(config, message):
    with pytest.raises(UnsupportedModel, match=message):
        family_for(config)


def test_an_unknown_rope_type_is_refused_by_name():
    config = transformers.LlamaConfig(**SIZES)
    config.rope_parameters = {"rope_type": "spiral", "rope_theta": 10000.0}
    with pytest.raises(UnsupportedModel, match="rope_type='spiral'; supported: default, dynamic"):
        family_for(config)


@pytest.fixture(scope="module")
def families_table(in_summary):
    """Collects one row a family, the worst of its cases, and puts the table into pytest's summary."""
    columns = {"logit": "|logit|", "tv": "TV", "reference": "|TV difference| to the reference"}
    covered, worst = defaultdict(list), defaultdict(dict)

    def add(case, **measured):
        covered[case.family] += [case.settings] if case.settings not in covered[case.family] else []
        for column, value in measured.items():
            worst[case.family][column] = max(value, worst[case.family].get(column, 0.0))

    def line(family, cells, settings):
        widths = [max(8, len(title)) for title in columns.values()]
        return f"{family:12} {' '.join(map(str.rjust, cells, widths))}  {settings}"

    yield add
    lines = [line("family", columns.values(), "settings covered")]
    for family, values in worst.items():
        cells = [f"{values[column]:.1e}" if column in values else "" for column in columns]
        lines.append(line(family, cells, "; ".join(covered[family])))
    in_summary("every family against its model: the worst of its cases", lines)
