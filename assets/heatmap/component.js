// The token heatmap: a text as cells that can be read, hovered, walked with the keys and chosen.
//
// Data: [{ cells, legend, chosen, name }], see density/measures.py. Texts from outside are set with textContent only.
// The component is called again with each new state of a profile; only the cells that changed are drawn again.

const boards = new WeakMap();
const LONGEST_WORD = 24;
const DRAG_PIXELS = 5;
// Letters of the scripts that are written from right to left.
const LEFTWARDS = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

export default function ({ data, parentElement, setTriggerValue }) {
  if (!boards.has(parentElement)) boards.set(parentElement, build(parentElement));
  const board = boards.get(parentElement);
  board.choose = (position) => setTriggerValue("chosen", position);
  board.mark = (first, last) => setTriggerValue("span", [first, last]);
  draw(board, data[0]);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function build(parent) {
  const root = element("div", "heatmap");
  const text = element("div", "text");
  text.setAttribute("role", "listbox");
  text.dir = "auto";
  const tip = element("div", "tip");
  tip.setAttribute("role", "tooltip");
  // In the browser's top layer: over everything, and not cut off by what it is in.
  tip.popover = "manual";
  const legend = element("div", "legend");
  const note = element("div", "note");
  note.setAttribute("role", "status");
  root.append(legend, text, note, tip);
  parent.append(root);
  // What was shown until now, see assets/first_view.
  document.getElementById("first-view")?.remove();
  const board = { root, text, tip, note, legend, cells: [], nodes: [], shape: null, at: 0, shown: null };
  listen(board);
  return board;
}

function draw(board, data) {
  board.text.setAttribute("aria-label", data.name);
  const shape = JSON.stringify(data.cells.slice(0, -1).map((cell) => cell.pieces));
  if (shape !== board.shape) {
    lay(board, data.cells);
    board.shape = shape;
  }
  drawLegend(board, data.legend);
  data.cells.forEach((cell, index) => {
    if (JSON.stringify(cell) !== JSON.stringify(board.cells[index])) paint(board.nodes[index], cell);
  });
  board.cells = data.cells;
  const chosen = data.cells.findIndex((cell) => cell.position === data.chosen && cell.found);
  select(board, chosen);
  rove(board, chosen >= 0 ? chosen : board.at);
  if (board.asked !== undefined && data.cells[board.asked].found) say(board, undefined);
  if (board.shown) show(board, board.shown);
}

// Cells in words that do not break, as long as they are of a length that fits.
function lay(board, cells) {
  hide(board);
  board.text.replaceChildren();
  board.cells = [];
  board.at = 0;
  board.from = undefined;
  // Boxes are put one after another in the direction of the whole; of a text in two directions each part has its own.
  board.text.classList.toggle("leftwards", cells.some((cell) => cell.pieces.some(([text]) => LEFTWARDS.test(text))));
  say(board, undefined);
  let word = null;
  let length = 0;
  board.nodes = cells.map((cell, index) => {
    const size = cell.pieces.reduce((sum, [text]) => sum + text.length, 0);
    if (!word || cell.starts || cell.following || length + size > LONGEST_WORD) {
      word = element("span", "word");
      length = 0;
      board.text.append(word);
    }
    length += size;
    const node = element("span", "cell");
    node.setAttribute("role", "option");
    node.dataset.index = index;
    word.append(node);
    if (cell.breaks) {
      for (let i = 0; i < Math.min(cell.breaks, 2); i++) board.text.append(document.createElement("br"));
      word = null;
    }
    return node;
  });
}

function paint(node, cell) {
  node.replaceChildren();
  for (const [text, mark] of cell.pieces) {
    node.append(mark === null ? text : element("span", "mark", mark));
  }
  if (cell.following && !cell.pieces.length) node.append(element("span", "mark", "next"));
  node.classList.toggle("following", cell.following);
  node.classList.toggle("pending", cell.waiting);
  node.classList.toggle("plain", cell.tint === null && !cell.waiting);
  node.classList.toggle("joined", cell.joined);
  node.classList.toggle("continued", cell.continued);
  node.classList.toggle("marked", Boolean(cell.marked));
  node.style.backgroundColor = cell.tint ?? "";
  node.style.color = cell.ink ?? "";
  node.setAttribute("aria-label", cell.label);
}

function drawLegend(board, legend) {
  const drawn = JSON.stringify(legend);
  if (board.drawn === drawn) return;
  board.drawn = drawn;
  const bar = element("div", "bar");
  bar.style.background = `linear-gradient(to right, ${legend.colours.join(", ")})`;
  const ticks = element("div", "ticks");
  for (const [share, label] of legend.ticks) {
    const tick = element("span", "tick", label);
    tick.style.left = `${100 * share}%`;
    ticks.append(tick);
  }
  const scale = element("div", "scale");
  scale.append(bar, ticks);
  board.legend.replaceChildren(element("span", "title", legend.title), scale);
}

function listen(board) {
  const cellOf = (event) => event.target.closest?.(".cell");
  board.text.addEventListener("pointerover", (event) => cellOf(event) && show(board, cellOf(event)));
  board.text.addEventListener("pointerleave", () => hide(board));
  board.text.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    rove(board, Number(cell.dataset.index));
    if (cell.matches(":focus-visible")) show(board, cell);
  });
  board.text.addEventListener("focusout", () => hide(board));
  // Scrolling moves the text away from under its tip; it may be any element around this one that scrolls.
  document.addEventListener("scroll", () => hide(board), { capture: true, passive: true });
  // A drag selects text; it chooses no token.
  let from = { x: 0, y: 0 };
  board.text.addEventListener("pointerdown", (event) => (from = { x: event.clientX, y: event.clientY }));
  board.text.addEventListener("click", (event) => {
    const moved = Math.hypot(event.clientX - from.x, event.clientY - from.y);
    if (!cellOf(event) || moved >= DRAG_PIXELS) return;
    if (event.shiftKey) mark(board, cellOf(event));
    else choose(board, cellOf(event), event.pointerType !== "touch");
  });
  // Shift and a click mark a range of tokens, not of letters.
  board.text.addEventListener("mousedown", (event) => {
    if (event.shiftKey && cellOf(event)) event.preventDefault();
  });
  board.text.addEventListener("keydown", (event) => press(board, event));
}

// What a chosen token opens is below it, where its tip would lie; on a touch screen the tip is what a touch shows.
function choose(board, node, covers = true) {
  const index = Number(node.dataset.index);
  board.from = index;
  if (!board.cells[index].found) return say(board, index);
  say(board, undefined);
  select(board, index);
  rove(board, index);
  if (covers) hide(board);
  board.choose(board.cells[index].position);
}

function select(board, index) {
  for (const node of board.nodes) {
    const selected = String(node === board.nodes[index]);
    if (node.getAttribute("aria-selected") !== selected) node.setAttribute("aria-selected", selected);
  }
}

// Why a token cannot be chosen; of undefined, nothing.
function say(board, index) {
  board.asked = index;
  const cell = index === undefined ? null : board.cells[index];
  board.note.textContent = cell ? cell.reason : "";
}

// The range from the token chosen last, or else from the one in the order of tabs, to this one.
function mark(board, node) {
  const to = Number(node.dataset.index);
  const ends = [board.from ?? board.at, to].map((index) => Math.max(board.cells[index].position, 0));
  board.mark(Math.min(...ends), Math.max(...ends));
}

function press(board, event) {
  const node = board.nodes[board.at];
  if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
  const forward = getComputedStyle(board.text).direction === "rtl" ? -1 : 1;
  const moves = {
    ArrowRight: () => board.at + forward,
    ArrowLeft: () => board.at - forward,
    ArrowDown: () => onNextLine(board, 1),
    ArrowUp: () => onNextLine(board, -1),
    Home: () => 0,
    End: () => board.nodes.length - 1,
  };
  if (event.key in moves) {
    const next = Math.min(Math.max(moves[event.key](), 0), board.nodes.length - 1);
    rove(board, next);
    board.nodes[next].focus();
    show(board, board.nodes[next]);
  } else if (event.key === "Enter" || event.key === " ") {
    if (event.shiftKey) mark(board, node);
    else choose(board, node);
  } else if (event.key === "Escape") {
    hide(board);
  } else {
    return;
  }
  event.preventDefault();
}

// The cell nearest to the current one on the line above or below.
function onNextLine(board, step) {
  const middle = (box) => box.left + box.width / 2;
  const here = board.nodes[board.at].getBoundingClientRect();
  let best = board.at;
  let line = null;
  for (let i = board.at + step; i >= 0 && i < board.nodes.length; i += step) {
    const box = board.nodes[i].getBoundingClientRect();
    if (Math.abs(box.top - here.top) < here.height / 2) continue;
    if (line === null) line = box.top;
    if (Math.abs(box.top - line) > here.height / 2) break;
    const distance = (index) => Math.abs(middle(board.nodes[index].getBoundingClientRect()) - middle(here));
    if (best === board.at || distance(i) < distance(best)) best = i;
  }
  return best;
}

function rove(board, index) {
  board.at = Math.min(index, board.nodes.length - 1);
  board.nodes.forEach((node, i) => {
    const order = i === board.at ? 0 : -1;
    if (node.tabIndex !== order || !node.hasAttribute("tabindex")) node.tabIndex = order;
  });
}

function hide(board) {
  board.shown = null;
  if (board.tip.matches(":popover-open")) board.tip.hidePopover();
}

function show(board, node) {
  const cell = board.cells[Number(node.dataset.index)];
  if (!cell) return;
  board.shown = node;
  board.tip.replaceChildren(...describe(cell));
  if (!board.tip.matches(":popover-open")) board.tip.showPopover();
  place(board, node);
}

function describe(cell) {
  const parts = [];
  if (cell.seen) parts.push(element("div", "seen", `seen up to ${cell.seen}`));
  const facts = element("dl", "facts");
  for (const [name, value] of cell.facts) facts.append(element("dt", "", name), element("dd", "", value));
  parts.push(facts);
  if (cell.top.length) {
    const top = element("div", "top");
    for (const [text, share, shown] of cell.top) {
      const bar = element("span", "share");
      bar.style.width = `${100 * share}%`;
      const track = element("span", "track");
      track.append(bar);
      top.append(element("span", "token", text), track, element("span", "value", shown));
    }
    parts.push(top);
  }
  return parts;
}

// Below the cell; above it where the window ends.
function place(board, node) {
  const box = node.getClientRects()[0];
  const tip = board.tip.getBoundingClientRect();
  const left = Math.max(Math.min(box.left, window.innerWidth - tip.width - 8), 8);
  const below = box.bottom + 6 + tip.height <= window.innerHeight || box.top - tip.height - 6 < 0;
  board.tip.style.left = `${left}px`;
  board.tip.style.top = `${below ? box.bottom + 6 : box.top - tip.height - 6}px`;
}
