"""What is taken home is whole, says what is on the page, shows texts as texts, and comes back as it went."""

import contextlib
import copy
import io
import json
import re
import time
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import networkx as nx
import pytest

from density import report, takehome
from density.colours import CAME_COLOUR
from density.document import MOST_BYTES, parse_profile
from density.errors import BadInput
from density.layout import first
from density.report import python_lines
from density.takehome import captioned, captioned_circuit, circuit_chart, circuit_html, graphml, node_link, png, svg
from density.view import visible
from tests.test_view import HOSTILE

TEXTS = [*HOSTILE, ' href="javascript:alert(1)" ', "\uffff\N{DELETE}\r]]>", "ends"]


@pytest.fixture(scope="module")
def made(tiny_folder):
    """A profile, its exploration, the reading and the circuit they are of; a tiny model."""
    from density import export
    from density.circuit import draw
    from density.explore import explore
    from density.health import check_reading
    from density.models import open_model
    from density.profile import profile
    from density.reading import read

    reading = read(open_model(str(tiny_folder)), "a b")
    health = check_reading(reading)
    predictions = list(profile(reading, sweep=True))
    document = export.profile_json(reading, predictions, fidelity=0.8, health=health)
    trace = max(predictions, key=lambda prediction: prediction.position).found.trace
    found = export.explore_json(reading, explore(reading, trace, 60), health=health)
    return plain(document), plain(found), reading, draw(reading, trace, 60)


def plain(document):
    """As it is once it has been a file."""
    return json.loads(json.dumps(document))


@pytest.fixture
def profile(made):
    return copy.deepcopy(made[0])


@pytest.fixture
def found(made):
    return copy.deepcopy(made[1])


def with_texts(document, texts=TEXTS):
    """A document whose tokens, and everything else that is text from outside, are hostile."""
    document = copy.deepcopy(document)

    def put(value):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, dict | list):
                put(inner)
            elif key in ("text", "context_token", "next_token", "model", "revision") and inner is not None:
                value[key] = texts[hash((key, inner)) % len(texts)]

    put(document)
    for index, token in enumerate(document["tokens"]):
        token["text"] = texts[index % len(texts)]
    return document


def test_the_graph_has_every_edge_once_and_the_output_reached_from_every_state(found):
    graph, edges = takehome.graph(found), found["circuit"]["edges"]
    assert graph.number_of_edges() == len(edges) > 20
    own = [key for _, _, key in graph.edges(keys=True)]
    assert sorted(own) == sorted({edge["name"] for edge in edges})
    output = f"{found['circuit']['output']['depth']}/{found['position']}"
    assert nx.ancestors(graph, output) == set(graph) - {output}
    for name, data in graph.nodes(data=True):
        assert name == f"{data['depth']}/{data['position']}"
        assert data["token"] == found["tokens"][data["position"]]["text"]
    for source, target, data in graph.edges(data=True):
        assert graph.nodes[target]["depth"] == graph.nodes[source]["depth"] + 1
        assert graph.nodes[source]["position"] <= graph.nodes[target]["position"]
        assert 0 < data["entry"] <= data["importance"] <= 1


@pytest.mark.parametrize("texts", [["a"], TEXTS])
def test_graphml_is_read_back_by_networkx(found, texts):
    found = with_texts(found, texts)
    written = graphml(found)
    read = nx.read_graphml(io.BytesIO(written.encode()), force_multigraph=True)
    wanted = takehome.graph(found)
    assert set(read.nodes) == set(wanted.nodes)
    assert [json.loads(read.nodes[name]["token"]) for name in wanted] == [
        wanted.nodes[name]["token"] for name in wanted
    ]
    assert json.loads(read.graph["text"]) == found["text"]
    columns = ("key", "kind", "layer", "importance")
    edges = [
        sorted(str(data.get(name, key)) for name in columns) for _, _, key, data in read.edges(keys=True, data=True)
    ]
    assert len(edges) == wanted.number_of_edges()
    assert {data["importance"] for *_, data in read.edges(data=True)} == {
        data["importance"] for *_, data in wanted.edges(data=True)
    }


@pytest.mark.parametrize("texts", [["a"], TEXTS])
def test_node_link_json_is_read_back_by_networkx(found, texts):
    found = with_texts(found, texts)
    read = nx.node_link_graph(json.loads(json.dumps(node_link(found), allow_nan=False)), edges="edges")
    wanted = takehome.graph(found)
    assert dict(read.nodes(data=True)) == dict(wanted.nodes(data=True))
    assert list(read.edges(keys=True, data=True)) == list(wanted.edges(keys=True, data=True))
    assert read.graph["model"] == found["model"]


ORIGIN = {"schema", "model", "revision", "rule", "precision", "versions", "position", "size", "threshold", "fidelity"}


def test_the_circuits_files_say_what_made_them_and_of_which_trace_they_are(found):
    read = nx.read_graphml(io.BytesIO(graphml(found).encode()), force_multigraph=True)
    for given in (json.loads(json.dumps(node_link(found)))["graph"], read.graph):
        assert set(given) >= ORIGIN
        assert (given["size"], given["threshold"]) == (found["trace"]["size"], found["trace"]["threshold"])
    assert json.loads(read.graph["versions"]) == found["versions"]


def test_a_drawing_taken_home_says_what_made_it(profile, found):
    charts = [captioned_circuit(found), *(captioned(draw(), found) for draw in report.charts(profile, found).values())]
    for drawn in (circuit_html(found), *map(svg, charts)):
        for said in (found["revision"][:12], "rule l1", f"torch {found['versions']['torch']}", "fidelity"):
            assert said in drawn


def test_a_circuit_taken_home_says_how_much_of_the_trace_is_drawn(found):
    found["circuit"] = first(found["circuit"], 7)
    drawn, left = len(found["circuit"]["edges"]), found["circuit"]["edges_left_out"]
    assert 0 < drawn <= 7 and left == found["trace"]["edges"] - drawn
    words = f"The first {drawn} of the trace's {drawn + left} edges; {left} are left out."
    assert words in "".join(ElementTree.fromstring(svg(captioned_circuit(found))).itertext())
    page = circuit_html(found)
    assert (
        f"the {drawn} edges that enter the trace first" in page and f"{left} more edges of the trace are left" in page
    )
    assert takehome.graph(found).graph["edges_left_out"] == left


def test_what_was_measured_of_the_curve_is_in_the_charts_and_the_report(profile, found):
    point = {"size": 0.5, "edges": 40, "threshold": 0.1, "total_variation": 0.25}
    control = {"edges": 40, "edges_kept": 50, "total_variation": 0.75}
    searched = {**profile, "search": "lattice", "predictions": [{**one} for one in profile["predictions"]]}
    for one in searched["predictions"]:
        del one["curve"]
    assert "Fidelity against size" not in report.charts(searched, found)
    measured = {**found, "curve": [{**point, "random": control}]}
    rows = json.dumps(report.charts(searched, measured)["Fidelity against size"]().to_dict())
    assert '"random control", "size": 0.5, "fidelity": 0.25' in rows
    assert "Fidelity against size" in report.report(searched, measured)


def test_one_colour_of_the_circuit_has_one_meaning(found):
    assert CAME_COLOUR not in circuit_html(found) + json.dumps(circuit_chart(found).to_dict())


class Tags(HTMLParser):
    """The tags of a page, with what they ask for, and its text outside of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text, self.inside = [], [], "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data


def test_the_interactive_circuit_asks_for_nothing_and_holds_texts_as_data(found):
    page = circuit_html(with_texts(found))
    tags = Tags(page)
    assert not {"link", "img", "iframe", "base"} & set(tags.tags)
    assert not [name for name, _ in tags.attributes if name in ("src", "href") or name.startswith("on")]
    assert "innerHTML = nodeData" not in page
    assert "Content-Security-Policy" in page and takehome.POLICY in page
    # Without texts it has as many scripts.
    assert tags.tags.count("script") == Tags(circuit_html(found)).tags.count("script") == 3


def test_the_interactive_circuit_has_every_state_and_edge(found):
    page = circuit_html(found)
    nodes, edges = (
        json.loads(re.search(rf"{name} = new vis.DataSet\((\[.*?\])\);", page)[1]) for name in ("nodes", "edges")
    )
    graph = takehome.graph(found)
    assert (len(nodes), len(edges)) == (graph.number_of_nodes(), graph.number_of_edges())
    assert sorted(edge["title"].split("\n")[0] for edge in edges) == sorted(key for *_, key in graph.edges(keys=True))
    lowest = [node for node in nodes if node["label"].strip()]
    names = {takehome.shortened(visible(token["text"])) for token in found["tokens"]}
    assert lowest and {node["label"] for node in lowest} <= names


def test_the_drawing_has_every_edge_and_is_made_without_a_request(found):
    chart = circuit_chart(with_texts(found))
    edges = {row["edge"] for row in chart.to_dict()["layer"][0]["data"]["values"]}
    assert len(edges) == len(found["circuit"]["edges"])
    drawn = svg(chart)
    tags = {element.tag.split("}")[1] for element in ElementTree.fromstring(drawn).iter()}
    assert "path" in tags and not {"script", "image", "a", "foreignObject"} & tags
    assert png(chart, 1.0).startswith(b"\x89PNG")


def test_a_drawing_has_room_for_its_texts_in_wider_fonts():
    text = '<g transform="translate(40,5)"><text text-anchor="start" font-size="10px">{}</text></g>'
    turned = '<text text-anchor="start" transform="translate(95,5) rotate(90)" font-size="10px">upwards</text>'
    drawing = '<svg width="{0}" height="9" viewBox="0 0 {0} 9"><rect width="{0}" height="9"/>{1}</svg>'
    # 40 + 10 letters of 0.7 * 10 pixels.
    wide = text.format("<tspan>abcdefghij</tspan><tspan>abc</tspan>") + turned
    assert takehome.widened(drawing.format(100, wide)) == drawing.format(110, wide)
    narrow = text.format("abc") + turned
    assert takehome.widened(drawing.format(100, narrow)) == drawing.format(100, narrow)


def test_a_circuit_without_edges_is_drawn_all_the_same(found):
    found["circuit"]["edges"] = []
    assert svg(circuit_chart(found)).startswith("<svg")
    assert "DataSet" in circuit_html(found)
    assert nx.read_graphml(io.BytesIO(graphml(found).encode())).number_of_nodes() == 1


def test_the_report_says_everything_and_holds_texts_as_text(profile, found):
    hostile, explored = with_texts(profile), with_texts(found)
    page = report.report(hostile, explored, {"density": "<b>its meaning</b>"})
    tags = Tags(page)
    assert not {"script", "img", "link", "iframe", "textarea", "a", "image"} & set(tags.tags)
    assert not [name for name, _ in tags.attributes if name in ("src", "href") or name.startswith("on")]
    assert tags.tags.count("svg") == len(report.charts(hostile, explored)) + 1 >= 6
    for token in hostile["tokens"]:
        assert visible(token["text"]).replace("·", " ").split()[0] in tags.text.replace("·", " ")
    assert "<b>its meaning</b>" in tags.text
    assert hostile["versions"]["torch"] in tags.text and "fidelity" in tags.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)


def test_the_reports_drawings_do_not_share_the_names_of_their_parts(profile, found):
    names = re.findall(r'\bid="([^"]+)"', report.report(profile, found))
    assert len(names) == len(set(names))


def test_the_report_of_a_profile_alone_has_its_numbers(profile):
    page = Tags(report.report(profile))
    assert "svg" not in page.tags
    for prediction in profile["predictions"]:
        assert f"{prediction['density']:.6g}" in page.text


@pytest.mark.parametrize("explored", [False, True])
def test_the_lines_of_python_repeat_it(profile, found, explored, monkeypatch):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(python_lines(profile, found if explored else None), {})
    documents = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert documents == ([profile, found] if explored else [profile])


def test_the_lines_of_python_hold_any_text(profile):
    for text in TEXTS:
        scope = {}
        lines = python_lines({**profile, "text": text, "model": text}).splitlines()
        exec(next(line for line in lines if line.startswith("text = ")), scope)
        assert scope["text"] == text
        compile("\n".join(lines), "lines", "exec")


def test_the_lines_name_the_positions_asked_for(profile):
    some = {**profile, "search": "lattice", "predictions": profile["predictions"][1:3]}
    assert "positions=[1, 2])" in python_lines(some)
    assert "positions='all', sweep=True)" in python_lines(profile)


def test_a_profile_comes_back_as_it_went(profile):
    assert parse_profile(json.dumps(profile).encode()) == profile
    assert parse_profile(b"\xef\xbb\xbf" + json.dumps(profile, ensure_ascii=False).encode()) == profile
    assert parse_profile(json.dumps({**profile, "added": {"later": [1]}}).encode()) == profile


def test_a_profile_of_more_tokens_than_are_read_here_is_opened(profile):
    more = [{"index": index, "id": 1, "text": "a"} for index in range(len(profile["tokens"]), 5000)]
    long = {**profile, "tokens": [*profile["tokens"], *more], "predictions": profile["predictions"][:2]}
    assert parse_profile(json.dumps(long).encode()) == long


def refused(data):
    """The message for ``data``, which came quickly."""
    began = time.monotonic()
    with pytest.raises(BadInput) as error:
        parse_profile(data)
    assert time.monotonic() - began < 3
    message = str(error.value)
    assert len(message) < 260 and message.rstrip().endswith((".", "'Table and files'."))
    return message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply|not JSON"),
        (b'{"a":' * 100_000, "nested too deeply|not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"[]", r"schema is \[\]; wanted 'density.profile/1'"),
        (b'{"schema": "density.other/1"}', "schema is 'density.other/1'"),
        (b'{"schema": "density.trace/1"}', "what can be opened is the JSON of 'Table and files'"),
        (b'{"schema": {}}', "schema is an object"),
        (b'{"schema": "density.profile/1"}', "model is missing"),
        (b'{"schema": NaN}', "NaN is no number"),
        (b"1" * 100_000, "not JSON"),
        (b" " * (MOST_BYTES + 1), "at most 5 are read"),
        (b'{"schema": "density.profile/1", "x": "' + b"a" * 4_000_000 + b'"}', "model is missing"),
        (b"[" + b"[]," * 1_500_000 + b"[]]", "more parts than any profile"),
    ],
)
def test_what_is_no_profile_is_refused_quickly(data, message):
    assert re.search(message, refused(data))


BAD = [
    (("text",), 5, "text is 5; wanted a text"),
    (("text",), "\ud800", "halves of surrogate pairs"),
    (("rule",), "l3", "rule is 'l3'; wanted one of l1, l2, ifr, projection"),
    (("rule",), ["l1"], "rule is a list of 1"),
    (("device",), "toaster", "wanted one of cpu"),
    (("fidelity",), 0, "fidelity is 0; wanted a number of at least 1e-09 and at most 1"),
    (("fidelity",), True, "fidelity is True"),
    (("fidelity",), "0.8", "fidelity is '0.8'"),
    (("fidelity",), 1e400, "fidelity is inf|Infinity is no number"),
    (("tokens",), [], r"tokens is \[\]; wanted a list of 1 to 400000"),
    (("tokens",), {"length": 10**9}, "tokens is an object"),
    (("tokens", 0), None, r"tokens\[0\] is None; wanted an object"),
    (("tokens", 1, "index"), 7, r"tokens\[1\].index is 7; wanted 1"),
    (("tokens", 1, "id"), -1, r"tokens\[1\].id is -1; wanted a whole number"),
    (("tokens", 1, "id"), 1.5, r"tokens\[1\].id is 1.5"),
    (("predictions",), [], r"predictions is \[\]; wanted a list"),
    (("predictions", 1, "position"), 0, r"predictions\[1\].position is 0; wanted more than 0"),
    (("predictions", -1, "position"), 10**9, "less than"),
    (
        ("predictions", 0, "density"),
        1.5,
        r"predictions\[0\].density is 1.5; wanted a number of at least 0 and at most 1",
    ),
    (("predictions", 0, "density"), None, r"predictions\[0\].density is None"),
    (("predictions", 0, "entropy"), -1, "entropy is -1"),
    (("predictions", 0, "context_token"), "<x>", "as the tokens have it"),
    (("predictions", 0, "next_token"), None, "as the tokens have it"),
    (("predictions", 0, "top_tokens"), [], r"top_tokens is \[\]; wanted a list"),
    (("predictions", 0, "top_tokens", 0, "probability"), "much", "probability is 'much'"),
    (("predictions", 0, "edges_trace"), 10**9, "edges_trace is 1000000000; wanted at most"),
    (("predictions", 0, "below"), [], r"below is \[\]; wanted an object"),
    (("predictions", 0, "curve"), [{}], r"curve\[0\].size is missing"),
    (("health",), {}, "health.full_replay_tv is missing"),
    (("versions", "torch"), {"a": 1}, "versions.torch is an object"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_a_profile_with_one_bad_value_is_refused_by_its_name(profile, path, value, message):
    inner = profile
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert re.search(message, refused(json.dumps(profile).encode()))


def test_a_sweep_without_its_curves_is_refused(profile):
    del profile["predictions"][0]["curve"]
    assert "has no curve or areas" in refused(json.dumps(profile).encode())
