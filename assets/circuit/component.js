// The circuit: a trace drawn on the grid of tokens and depths, to be hovered, walked with the keys, filtered and clicked.
//
// Data: { circuit, drawing, colours, said, predicts, picked }; `drawing` is made by density/layout.py, and `circuit` is
// its signature. Edges and states are painted on a canvas; every state is also an option of a list, for the keys and
// for screen readers. A second canvas holds what is pointed at, so that pointing repaints nothing else.
// Every text from outside is set with textContent, or painted.

const boards = new WeakMap();
const KINDS = ["residual", "head", "mlp"];
const KIND_NAMES = { residual: "Residual", head: "Heads", mlp: "MLP" };
const WIDTHS = [0.8, 1.3, 1.9, 2.6, 3.4, 4.3];
const MARGIN = { left: 46, right: 26, top: 30 };
// Below the grid: room for tokens that lie flat, and for tokens that have to be turned.
const FLOOR = { flat: 40, turned: 84 };
const ZOOM = { least: 1, most: 60, step: 1.4 };
const CLICK_PIXELS = 4;
const REACH = 7;
const LABEL = 14;
const SETTLED = 120;

export default function ({ data, parentElement, setTriggerValue }) {
  if (!boards.has(parentElement)) boards.set(parentElement, build(parentElement));
  const board = boards.get(parentElement);
  board.send = (what) => setTriggerValue("picked", { circuit: board.circuit, ...what });
  update(board, data);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(text, label, act) {
  const made = element("button", "", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.title = label;
  made.addEventListener("click", act);
  return made;
}

function build(parent) {
  const root = element("div", "circuit");
  const controls = element("div", "controls");
  const stage = element("div", "stage");
  const canvas = element("canvas");
  const over = element("canvas", "over");
  const list = element("div", "states");
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "States of the circuit, the prediction first");
  const hint = element("div", "hint", "Click the graph, or hold Ctrl, to zoom with the wheel");
  const tip = element("div", "tip");
  tip.setAttribute("role", "tooltip");
  tip.popover = "manual";
  const said = element("div", "said");
  said.setAttribute("role", "status");
  const board = {
    ...{ root, controls, stage, canvas, over, list, hint, tip, said },
    ...{ states: [], edges: [], shown: [], options: [], circuit: null, at: 0, picked: null, pointed: null, summed: false },
    view: { k: 1, x: 0, y: 0 },
    size: { width: 0, height: 0 },
    filter: { kinds: new Set(KINDS), low: 0, high: Infinity, head: null, token: null },
    buckets: null,
    moved: false,
  };
  const zoom = element("div", "zoom");
  zoom.append(
    button("+", "Zoom in", () => zoomAt(board, ZOOM.step)),
    button("−", "Zoom out", () => zoomAt(board, 1 / ZOOM.step)),
    button("Fit", "Show the whole circuit", () => fit(board)),
  );
  const head = element("div", "head");
  head.append(controls, zoom);
  stage.append(canvas, over, list, hint);
  root.append(head, stage, said, tip);
  parent.append(root);
  listen(board);
  new ResizeObserver(() => resize(board)).observe(stage);
  return board;
}

function update(board, data) {
  board.colours = data.colours;
  board.predicts = data.predicts;
  board.left = data.said;
  board.theme = themeOf(board.root);
  if (data.circuit !== board.circuit) {
    const known = board.circuit !== null;
    board.circuit = data.circuit;
    take(board, data.drawing);
    drawControls(board);
    if (!known || !board.moved) fit(board);
  }
  board.picked = data.picked && { ...data.picked };
  refilter(board);
}

// What the theme says; read once a theme, since the canvas knows no variables.
function themeOf(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(`--st-${name}`).trim();
  return {
    ...{ text: read("text-color"), back: read("background-color"), line: read("border-color") },
    ...{ primary: read("primary-color"), font: read("font") || "sans-serif" },
  };
}

function take(board, drawing) {
  const before = board.states[board.at];
  const { edges } = drawing;
  board.drawing = drawing;
  board.states = drawing.states.map((state, number) => ({ ...state, number }));
  board.edges = edges.name.map((name, number) => ({
    ...{ name, number, kind: edges.kind[number], layer: edges.layer[number], head: edges.head[number] },
    ...{ importance: edges.importance[number], entry: edges.entry[number], bend: edges.bend[number] },
    ...{ source: board.states[edges.source[number]], target: board.states[edges.target[number]] },
  }));
  board.spans = Math.max(...drawing.columns.map((column) => column.x));
  board.pointed = null;
  hideTip(board);
  board.options = board.states.map((state) => {
    const option = element("div", "state");
    option.setAttribute("role", "option");
    option.setAttribute("aria-label", state.name);
    option.dataset.number = state.number;
    option.tabIndex = -1;
    return option;
  });
  board.list.replaceChildren(...board.options);
  const kept = before ? board.states.findIndex((s) => s.depth === before.depth && s.position === before.position) : -1;
  board.at = kept >= 0 ? kept : drawing.output;
  if (board.options[board.at]) board.options[board.at].tabIndex = 0;
}

// Filters.

function drawControls(board) {
  const { filter, drawing } = board;
  const layers = [...new Set(board.edges.map((edge) => edge.layer))].sort((a, b) => a - b);
  const heads = [...new Set(board.edges.map((edge) => edge.head))].filter((h) => h !== null).sort((a, b) => a - b);
  const last = drawing.ticks.length - 1;
  filter.low = Math.min(filter.low, last);
  if (!heads.includes(filter.head)) filter.head = null;
  if (!drawing.columns.some((column) => column.position === filter.token)) filter.token = null;
  const kinds = element("div", "kinds");
  for (const kind of KINDS) kinds.append(kindBox(board, kind));
  const every = Array.from({ length: last + 1 }, (_, layer) => [layer, String(layer)]);
  const parts = [kinds];
  if (layers.length) {
    parts.push(
      choice("Layers from", every, filter.low, (value) => (filter.low = value), board),
      choice("to", every, Math.min(filter.high, last), (value) => (filter.high = value), board),
    );
  }
  const headChoices = [[null, "all"], ...heads.map((head) => [head, `H${head}`])];
  parts.push(choice("Head", headChoices, filter.head, (value) => (filter.head = value), board));
  const tokens = drawing.columns.map((column) => [column.position, `${column.position} ${cut(column.token, 24)}`]);
  parts.push(choice("Reads from", [[null, "any token"], ...tokens], filter.token, (v) => (filter.token = v), board));
  const ways = [[false, "each alone"], [true, "summed by pair"]];
  parts.push(choice("Edges", ways, board.summed, (value) => (board.summed = value), board));
  board.controls.replaceChildren(...parts);
}

function kindBox(board, kind) {
  const label = element("label", "kind");
  const box = element("input");
  box.type = "checkbox";
  box.checked = board.filter.kinds.has(kind);
  box.addEventListener("change", () => {
    if (box.checked) board.filter.kinds.add(kind);
    else board.filter.kinds.delete(kind);
    refilter(board);
  });
  const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  swatch.setAttribute("viewBox", "0 0 26 16");
  swatch.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", { residual: "M13 15V1", head: "M2 14Q14 -1 24 5", mlp: "M9 15Q23 8 9 1" }[kind]);
  line.setAttribute("stroke", board.colours[kind]);
  swatch.append(line);
  const count = board.edges.filter((edge) => edge.kind === kind).length;
  label.append(box, swatch, element("span", "", `${KIND_NAMES[kind]} ${count.toLocaleString("en")}`));
  return label;
}

function choice(name, options, value, set, board) {
  const label = element("label", "choice");
  const select = element("select");
  for (const [, text] of options) select.append(element("option", "", text));
  select.selectedIndex = Math.max(options.findIndex(([option]) => option === value), 0);
  select.addEventListener("change", () => {
    set(options[select.selectedIndex][0]);
    refilter(board);
  });
  label.append(element("span", "", name), select);
  return label;
}

// Which edges are painted: those that pass the filters, each alone or those of a pair of states and a kind together.
function refilter(board) {
  const { filter } = board;
  const passing = board.edges.filter(
    (edge) =>
      filter.kinds.has(edge.kind) &&
      edge.layer >= filter.low &&
      edge.layer <= filter.high &&
      (filter.head === null || edge.kind !== "head" || edge.head === filter.head) &&
      (filter.token === null || edge.source.position === filter.token),
  );
  board.passing = passing.length;
  board.shown = board.summed ? sum(passing) : passing.map((edge) => ({ ...edge, members: [edge] }));
  const lit = new Set([board.drawing.output]);
  for (const edge of passing) lit.add(edge.source.number).add(edge.target.number);
  board.lit = lit;
  board.pointed = null;
  board.buckets = null;
  const all = board.edges.length;
  const hidden = all === passing.length ? "" : ` ${(all - passing.length).toLocaleString("en")} of them filtered out.`;
  board.said.textContent = board.left + hidden;
  for (const option of board.options) option.setAttribute("aria-selected", "false");
  if (board.picked?.state !== undefined) board.options[board.picked.state]?.setAttribute("aria-selected", "true");
  settle(board);
  paint(board);
}

function sum(edges) {
  const groups = new Map();
  for (const edge of edges) {
    const key = `${edge.source.number}/${edge.target.number}/${edge.kind}`;
    if (!groups.has(key)) groups.set(key, { ...edge, importance: 0, members: [] });
    const group = groups.get(key);
    group.importance += edge.importance;
    group.members.push(edge);
  }
  for (const group of groups.values()) group.members.sort((a, b) => b.importance - a.importance);
  return [...groups.values()];
}

// Where things are.

function resize(board) {
  const { clientWidth: width, clientHeight: height } = board.stage;
  if (!width || !height) return;
  const before = board.size;
  board.size = { width, height };
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  for (const canvas of [board.canvas, board.over]) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }
  board.ratio = ratio;
  if (!before.width || !board.moved) fit(board);
  else paint(board);
}

// Everything in view, as large as that allows; a narrow circuit is in the middle.
function fit(board) {
  const { width, height } = board.size;
  if (!width || !board.drawing) return;
  // Half a column on either side, for the edges that bend out of the grid.
  const across = Math.max(width - MARGIN.left - MARGIN.right, 40);
  const column = Math.min(across / (board.spans + 1), 120);
  const widest = Math.max(...board.drawing.columns.map((one) => wideAs(board, cut(one.token, LABEL))));
  board.flat = widest < column - 6;
  board.floor = board.flat ? FLOOR.flat : FLOOR.turned;
  const up = Math.max(height - MARGIN.top - board.floor, 40);
  board.step = { x: column, y: Math.min(up / Math.max(board.drawing.depths, 1), 90) };
  const wide = board.step.x * board.spans;
  const high = board.step.y * board.drawing.depths;
  board.view = {
    ...{ k: 1, x: MARGIN.left + (across - wide) / 2 },
    y: height - board.floor - (up - high) / 2,
  };
  board.moved = false;
  board.buckets = null;
  settle(board);
  paint(board);
}

function wideAs(board, text) {
  const pen = board.canvas.getContext("2d");
  pen.font = `12px ${board.theme.font}`;
  return pen.measureText(text).width;
}

function scale(board) {
  return { x: board.step.x * board.view.k, y: board.step.y * board.view.k };
}

function spot(board, state) {
  const by = scale(board);
  return { x: board.view.x + by.x * state.x, y: board.view.y - by.y * state.y };
}

function radius(board) {
  const by = scale(board);
  return Math.min(Math.max(Math.min(by.x, by.y) * 0.23, 1.7), 7);
}

// An edge's curve from the origin of the view: its ends and what pulls it aside.
function curve(board, edge, by) {
  const a = { x: by.x * edge.source.x, y: -by.y * edge.source.y };
  const b = { x: by.x * edge.target.x, y: -by.y * edge.target.y };
  const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  const bend = board.summed ? Math.sign(edge.bend) : edge.bend;
  if (a.x === b.x) {
    const side = Math.min(by.x * 0.5, by.y * 1.1 + 3);
    return { a, b, pull: { x: middle.x + side * 2 * (1 - 0.6 ** Math.abs(bend)) * Math.sign(bend), y: middle.y } };
  }
  const away = Math.abs(b.x - a.x);
  const fan = edge.kind === "head" && !board.summed ? edge.bend : 0;
  const lift = Math.min(away * 0.12, 14 + 2.2 * Math.sqrt(away)) + fan * Math.min(by.y * 0.5, 12);
  return { a, b, pull: { x: middle.x, y: middle.y - lift } };
}

function trace(path, { a, b, pull }) {
  path.moveTo(a.x, a.y);
  if (pull.x === a.x && a.x === b.x) path.lineTo(b.x, b.y);
  else path.quadraticCurveTo(pull.x, pull.y, b.x, b.y);
}

// Its place among the widths; by the root, since most importances are small.
function step(importance) {
  return Math.min(Math.floor(Math.sqrt(importance) * WIDTHS.length), WIDTHS.length - 1);
}

// Painting, once a frame at most.

function paint(board) {
  if (board.frame || !board.size.width || !board.drawing) return;
  board.frame = requestAnimationFrame(() => {
    board.frame = 0;
    paintEdges(board);
    paintOver(board);
  });
}

// Paths are made anew when the zoom or the filters change; moving only moves them.
function bucketed(board) {
  const { k } = board.view;
  if (board.buckets && board.buckets.k === k) return board.buckets;
  const by = scale(board);
  const strokes = new Map();
  for (const edge of board.shown) {
    const key = `${edge.kind} ${step(edge.importance)}`;
    if (!strokes.has(key)) {
      strokes.set(key, { colour: board.colours[edge.kind], width: WIDTHS[step(edge.importance)], path: new Path2D() });
    }
    edge.curve = curve(board, edge, by);
    trace(strokes.get(key).path, edge.curve);
  }
  const dots = new Path2D();
  const r = radius(board);
  for (const number of board.lit) {
    const { x, y } = board.states[number];
    dots.moveTo(by.x * x + r, -by.y * y);
    dots.arc(by.x * x, -by.y * y, r, 0, 2 * Math.PI);
  }
  board.buckets = { k, dots, strokes: [...strokes.values()].sort((one, other) => other.width - one.width) };
  return board.buckets;
}

function paintEdges(board) {
  const { theme, view, size, canvas, ratio } = board;
  const pen = canvas.getContext("2d");
  const { strokes, dots } = bucketed(board);
  const swell = Math.min(Math.max(view.k ** 0.35, 0.8), 2.2) * (board.step.y < 6 ? 0.7 : 1);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, size.width, size.height);
  paintGrid(board, pen);
  pen.translate(view.x, view.y);
  pen.lineCap = "round";
  pen.globalAlpha = 0.9;
  for (const { colour, width, path } of strokes) {
    pen.strokeStyle = colour;
    pen.lineWidth = width * swell;
    pen.stroke(path);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = theme.back;
  pen.strokeStyle = theme.text;
  pen.lineWidth = 1;
  pen.fill(dots);
  pen.stroke(dots);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  paintAxes(board, pen);
}

function paintGrid(board, pen) {
  const { theme, size, drawing } = board;
  pen.strokeStyle = theme.line;
  pen.lineWidth = 1;
  pen.globalAlpha = 0.6;
  pen.beginPath();
  for (const column of drawing.columns) {
    const { x } = spot(board, { x: column.x, y: 0 });
    if (x < 0 || x > size.width) continue;
    pen.moveTo(Math.round(x) + 0.5, spot(board, { x: 0, y: drawing.depths }).y);
    pen.lineTo(Math.round(x) + 0.5, spot(board, { x: 0, y: 0 }).y);
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

// The tokens along the bottom and the layers along the left stay where they are, whatever is in view.
function paintAxes(board, pen) {
  const { theme, size, drawing } = board;
  const by = scale(board);
  const floor = size.height - board.floor + 12;
  pen.fillStyle = theme.back;
  pen.fillRect(0, floor, size.width, size.height - floor);
  pen.fillRect(0, 0, MARGIN.left - 6, size.height);
  pen.fillStyle = theme.text;
  pen.direction = "ltr";
  pen.font = `12px ${theme.font}`;
  pen.textBaseline = "middle";
  const every = Math.max(1, Math.ceil(13 / by.x));
  drawing.columns.forEach((column, index) => {
    const { x } = spot(board, { x: column.x, y: 0 });
    if (index % every || x < MARGIN.left - 6 || x > size.width) return;
    const text = cut(column.token, LABEL);
    const flat = board.flat || pen.measureText(text).width < by.x - 6;
    pen.save();
    pen.translate(x, floor + 8);
    if (!flat) pen.rotate(-Math.PI / 3);
    pen.textAlign = flat ? "center" : "right";
    pen.fillText(text, 0, flat ? 4 : 0);
    pen.restore();
    if (column.skipped && index) {
      pen.globalAlpha = 0.55;
      pen.textAlign = "center";
      pen.fillText("⋯", x - (by.x * 1.6) / 2, floor + 2);
      pen.globalAlpha = 1;
    }
  });
  pen.textAlign = "right";
  pen.globalAlpha = 0.75;
  const rows = Math.max(1, Math.ceil(16 / (by.y * (drawing.depths / Math.max(drawing.ticks.length, 1)))));
  for (const [depth, label] of drawing.ticks) {
    const { y } = spot(board, { x: 0, y: depth });
    if (Number(label) % rows || y < 8 || y > floor - 4) continue;
    pen.fillText(`L${label}`, MARGIN.left - 12, y);
  }
  pen.globalAlpha = 1;
  const top = spot(board, board.states[drawing.output]);
  const inView = top.x > MARGIN.left - 6 && top.x < size.width && top.y > 0 && top.y < floor;
  if (board.predicts && inView) {
    pen.font = `600 13px ${theme.font}`;
    const text = `→ ${cut(board.predicts, LABEL + 6)}`;
    const wide = pen.measureText(text).width;
    pen.textAlign = "left";
    pen.fillText(text, Math.min(Math.max(top.x - wide / 2, 4), size.width - wide - 4), Math.max(top.y - 16, 10));
  }
}

// What is pointed at, has the focus or was picked, with its neighbours.
function paintOver(board) {
  const { theme, view, size, over, ratio } = board;
  const pen = over.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, size.width, size.height);
  const strong = [];
  const rings = [];
  const picked = board.picked;
  if (picked?.state !== undefined) rings.push([board.states[picked.state], theme.primary]);
  if (picked?.edge !== undefined) {
    strong.push(...board.shown.filter((edge) => edge.members.some((member) => member.number === picked.edge)));
  }
  if (board.focused) rings.push([board.states[board.at], theme.text]);
  const { pointed } = board;
  if (pointed?.state) {
    rings.push([pointed.state, theme.text]);
    strong.push(...board.shown.filter((edge) => edge.source === pointed.state || edge.target === pointed.state));
  }
  if (pointed?.edge) strong.push(pointed.edge);
  pen.save();
  pen.beginPath();
  pen.rect(MARGIN.left - 6, 0, size.width, size.height - board.floor + 12);
  pen.clip();
  pen.translate(view.x, view.y);
  pen.lineCap = "round";
  for (const edge of strong.filter((one) => one?.curve)) {
    const path = new Path2D();
    trace(path, edge.curve);
    const width = WIDTHS[step(edge.importance)] + 1.5;
    pen.strokeStyle = theme.text;
    pen.lineWidth = width + 2.5;
    pen.stroke(path);
    pen.strokeStyle = board.colours[edge.kind];
    pen.lineWidth = width;
    pen.stroke(path);
  }
  pen.translate(-view.x, -view.y);
  for (const [state, colour] of rings.filter(([one]) => one)) {
    const { x, y } = spot(board, state);
    pen.beginPath();
    pen.arc(x, y, radius(board) + 3.5, 0, 2 * Math.PI);
    pen.strokeStyle = colour;
    pen.lineWidth = 2.5;
    pen.stroke();
  }
  pen.restore();
}

function cut(text, most) {
  const characters = [...text];
  return characters.length > most ? characters.slice(0, most - 1).join("") + "…" : text;
}

// Moving about.

// The options follow the picture when it rests; while it moves, only the canvas does.
function settle(board) {
  clearTimeout(board.settling);
  board.settling = setTimeout(() => {
    if (!board.size.width) return;
    const inside = MARGIN.left - 6;
    const floor = board.size.height - board.floor + 12;
    board.options.forEach((option, number) => {
      const { x, y } = spot(board, board.states[number]);
      option.style.transform = `translate(${x}px, ${y}px)`;
      option.hidden = !board.lit.has(number);
      option.classList.toggle("outside", x < inside || x > board.size.width || y < 0 || y > floor);
    });
  }, SETTLED);
}

function move(board, dx, dy) {
  board.view.x += dx;
  board.view.y += dy;
  board.moved = true;
  keepInside(board);
  settle(board);
  paint(board);
}

// Some of the circuit always stays in view.
function keepInside(board) {
  const { view, size, drawing } = board;
  const by = scale(board);
  const room = 60;
  view.x = Math.min(Math.max(view.x, room - by.x * board.spans), size.width - room);
  view.y = Math.min(Math.max(view.y, room), size.height - room - board.floor + by.y * drawing.depths);
}

function zoomAt(board, factor, x = board.size.width / 2, y = board.size.height / 2) {
  const { view } = board;
  const k = Math.min(Math.max(view.k * factor, ZOOM.least), ZOOM.most);
  view.x = x - ((x - view.x) * k) / view.k;
  view.y = y - ((y - view.y) * k) / view.k;
  view.k = k;
  board.moved = true;
  hideTip(board);
  keepInside(board);
  settle(board);
  paint(board);
}

function reveal(board, state) {
  const { x, y } = spot(board, state);
  const { width, height } = board.size;
  const dx = Math.max(MARGIN.left + 10 - x, 0) || Math.min(width - 20 - x, 0);
  const dy = Math.max(20 - y, 0) || Math.min(height - board.floor - y, 0);
  if (dx || dy) move(board, dx, dy);
}

// Pointing.

function listen(board) {
  const { stage, list } = board;
  const pointers = new Map();
  let travelled = 0;
  let pinch = null;
  const inStage = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    // The focus stays where the keys go on from.
    event.preventDefault();
    if (pointers.size === 0) travelled = 0;
    pointers.set(event.pointerId, inStage(event));
    stage.setPointerCapture(event.pointerId);
    pinch = null;
    board.active = true;
    stage.classList.add("held");
  });
  stage.addEventListener("pointermove", (event) => {
    const to = inStage(event);
    if (!pointers.has(event.pointerId)) {
      if (event.pointerType === "mouse") point(board, at(board, to), event);
      return;
    }
    const from = pointers.get(event.pointerId);
    pointers.set(event.pointerId, to);
    if (pointers.size === 1) {
      travelled += Math.hypot(to.x - from.x, to.y - from.y);
      if (travelled >= CLICK_PIXELS) {
        point(board, null);
        move(board, to.x - from.x, to.y - from.y);
      }
    } else if (pointers.size === 2) {
      const [one, other] = pointers.values();
      const now = { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2, apart: Math.hypot(one.x - other.x, one.y - other.y) };
      if (pinch && pinch.apart > 0 && now.apart > 0) {
        move(board, now.x - pinch.x, now.y - pinch.y);
        zoomAt(board, now.apart / pinch.apart, now.x, now.y);
      }
      pinch = now;
      travelled += CLICK_PIXELS;
    }
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    pinch = null;
    if (pointers.size === 0) stage.classList.remove("held");
    if (event.type === "pointerup" && travelled < CLICK_PIXELS) {
      const found = at(board, inStage(event), event.pointerType === "mouse" ? REACH : 2 * REACH);
      if (found) pick(board, found);
    }
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("pointerleave", () => {
    board.active = false;
    if (pointers.size === 0) point(board, null);
  });
  stage.addEventListener(
    "wheel",
    (event) => {
      // A page that is scrolled past the graph scrolls on, also where there is nothing more to zoom out.
      const done = event.deltaY > 0 && board.view.k <= ZOOM.least;
      if (done && !event.ctrlKey) return;
      if (!(board.active || board.focused || event.ctrlKey)) {
        board.hint.classList.add("seen");
        clearTimeout(board.hinting);
        board.hinting = setTimeout(() => board.hint.classList.remove("seen"), 1500);
        return;
      }
      event.preventDefault();
      const { x, y } = inStage(event);
      const lines = event.deltaMode === 1 ? 30 : 1;
      zoomAt(board, Math.exp(-Math.min(Math.max(event.deltaY * lines, -120), 120) / 300), x, y);
    },
    { passive: false },
  );
  document.addEventListener("scroll", () => hideTip(board), { capture: true, passive: true });
  list.addEventListener("focusin", (event) => {
    board.focused = event.target.matches(":focus-visible");
    rove(board, Number(event.target.dataset.number));
    if (board.focused) pointState(board, board.states[board.at]);
    paint(board);
  });
  list.addEventListener("focusout", () => {
    board.focused = false;
    point(board, null);
    paint(board);
  });
  // A screen reader's click; those of a pointer are met above.
  list.addEventListener("click", (event) => {
    const option = event.target.closest(".state");
    if (option && event.detail === 0) pick(board, { state: board.states[Number(option.dataset.number)] });
  });
  list.addEventListener("keydown", (event) => press(board, event));
}

// The state, else the edge, at a place in the stage.
function at(board, { x, y }, reach = REACH) {
  if (!board.buckets || y > board.size.height - board.floor + 12 || x < MARGIN.left - 6) return null;
  let best = null;
  let least = radius(board) + reach * 0.6;
  for (const number of board.lit) {
    const place = spot(board, board.states[number]);
    const far = Math.hypot(place.x - x, place.y - y);
    if (far < least) [best, least] = [{ state: board.states[number] }, far];
  }
  if (best) return best;
  least = reach;
  const here = { x: x - board.view.x, y: y - board.view.y };
  for (const edge of board.shown) {
    if (!edge.curve) continue;
    const far = distance(edge.curve, here, least);
    if (far < least) [best, least] = [{ edge }, far];
  }
  return best;
}

// From a point to a curve, in twelve straight pieces; Infinity where its box is farther than `limit`.
function distance({ a, b, pull }, point, limit) {
  if (
    point.x < Math.min(a.x, b.x, pull.x) - limit ||
    point.x > Math.max(a.x, b.x, pull.x) + limit ||
    point.y < Math.min(a.y, b.y, pull.y) - limit ||
    point.y > Math.max(a.y, b.y, pull.y) + limit
  ) {
    return Infinity;
  }
  let least = Infinity;
  let from = a;
  for (let i = 1; i <= 12; i++) {
    const t = i / 12;
    const to = {
      x: (1 - t) ** 2 * a.x + 2 * t * (1 - t) * pull.x + t ** 2 * b.x,
      y: (1 - t) ** 2 * a.y + 2 * t * (1 - t) * pull.y + t ** 2 * b.y,
    };
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const along = ((point.x - from.x) * dx + (point.y - from.y) * dy) / (dx * dx + dy * dy || 1);
    const part = Math.min(Math.max(along, 0), 1);
    least = Math.min(least, Math.hypot(from.x + part * dx - point.x, from.y + part * dy - point.y));
    from = to;
  }
  return least;
}

function pick(board, found) {
  const what = found.state ? { state: found.state.number } : { edge: found.edge.members[0].number };
  if (found.state) rove(board, found.state.number);
  board.picked = what;
  for (const option of board.options) option.setAttribute("aria-selected", "false");
  if (found.state) board.options[found.state.number].setAttribute("aria-selected", "true");
  paintOver(board);
  board.send(what);
}

function rove(board, number) {
  if (board.options[board.at]) board.options[board.at].tabIndex = -1;
  board.at = number;
  board.options[number].tabIndex = 0;
}

// The keys: up and down the stream of a token, left and right between tokens.
function press(board, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const moves = {
    ArrowUp: () => next(board, (from, to) => (to.x === from.x && to.y > from.y ? to.y - from.y : Infinity)),
    ArrowDown: () => next(board, (from, to) => (to.x === from.x && to.y < from.y ? from.y - to.y : Infinity)),
    ArrowRight: () => next(board, (from, to) => (to.x > from.x ? 1e3 * (to.x - from.x) + Math.abs(to.y - from.y) : Infinity)),
    ArrowLeft: () => next(board, (from, to) => (to.x < from.x ? 1e3 * (from.x - to.x) + Math.abs(to.y - from.y) : Infinity)),
    Home: () => board.drawing.output,
    End: () => Math.max(...board.lit),
  };
  if (event.key in moves) {
    const number = moves[event.key]();
    rove(board, number);
    reveal(board, board.states[number]);
    board.options[number].hidden = false;
    board.options[number].focus({ preventScroll: true });
    board.focused = true;
    pointState(board, board.states[number]);
  } else if (event.key === "Enter" || event.key === " ") {
    pick(board, { state: board.states[board.at] });
  } else if (event.key === "+" || event.key === "=" || event.key === "-") {
    const { x, y } = spot(board, board.states[board.at]);
    zoomAt(board, event.key === "-" ? 1 / ZOOM.step : ZOOM.step, x, y);
  } else if (event.key === "0") {
    fit(board);
  } else if (event.key === "Escape") {
    point(board, null);
  } else {
    return;
  }
  event.preventDefault();
}

function next(board, far) {
  const from = board.states[board.at];
  let best = board.at;
  let least = Infinity;
  for (const number of board.lit) {
    const away = far(from, board.states[number]);
    if (away < least) [best, least] = [number, away];
  }
  return best;
}

function pointState(board, state) {
  const place = spot(board, state);
  const box = board.stage.getBoundingClientRect();
  point(board, { state }, { clientX: box.left + place.x, clientY: box.top + place.y });
}

function point(board, found, where) {
  const same = found?.state === board.pointed?.state && found?.edge === board.pointed?.edge;
  board.pointed = found;
  board.stage.classList.toggle("over-something", Boolean(found));
  if (!found) hideTip(board);
  else {
    if (!same) board.tip.replaceChildren(...(found.state ? aboutState(board, found.state) : aboutEdge(found.edge)));
    if (!board.tip.matches(":popover-open")) board.tip.showPopover();
    placeTip(board, where);
  }
  if (!same && !board.frame && board.size.width && board.buckets) paintOver(board);
}

function hideTip(board) {
  if (board.tip.matches(":popover-open")) board.tip.hidePopover();
}

function percent(share) {
  return `${Number((100 * share).toPrecision(3))}%`;
}

function facts(rows) {
  const list = element("dl", "facts");
  for (const [name, value] of rows) list.append(element("dt", "", name), element("dd", "", value));
  return list;
}

function aboutState(board, state) {
  const into = board.edges.filter((edge) => edge.target === state).length;
  const out = board.edges.filter((edge) => edge.source === state).length;
  const rows = [["edges drawn", `${into} in, ${out} out`]];
  return [element("div", "name", state.name), facts(rows), element("div", "offer", "click to look into it")];
}

function aboutEdge(edge) {
  const [first] = edge.members;
  if (edge.members.length === 1) {
    const rows = [["importance", percent(edge.importance)], ["enters at", edge.entry.toPrecision(3)]];
    return [element("div", "name", first.name), facts(rows), element("div", "offer", "click to look into it")];
  }
  const title = `${edge.members.length} edges, importance ${percent(edge.importance)} together`;
  const rows = edge.members.slice(0, 6).map((member) => [member.name, percent(member.importance)]);
  if (edge.members.length > 6) rows.push([`${edge.members.length - 6} more`, ""]);
  return [element("div", "name", title), facts(rows), element("div", "offer", "click to look into each")];
}

// Beside the pointer; on its other side where the window ends.
function placeTip(board, { clientX, clientY }) {
  const tip = board.tip.getBoundingClientRect();
  const left = clientX + 14 + tip.width <= window.innerWidth - 4 ? clientX + 14 : Math.max(clientX - 14 - tip.width, 4);
  const top = clientY + 14 + tip.height <= window.innerHeight - 4 ? clientY + 14 : Math.max(clientY - 14 - tip.height, 4);
  board.tip.style.left = `${left}px`;
  board.tip.style.top = `${top}px`;
}
