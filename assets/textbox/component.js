// Hands over what is typed into a text box at every pause, as if Ctrl and Enter had been pressed in it; pressed by a
// hand, they run it too.
//
// Data: { label, kept, missing }: the text box's label, what stands for its text in the page's link if that is long, and
// what stands there for a text that is missing. The tab keeps the long text until it is closed. Half a surrogate pair is
// no UTF-8, and Streamlit's server cannot parse any message from a page that holds one: it becomes U+FFFD, which can be
// seen, before Streamlit reads the box.

const PAUSE = 600;
const SLOT = "density-text";
const setValue = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;

export default function ({ data, setTriggerValue }) {
  if (data.kept) keep(data);
  const [kept, text] = JSON.parse(sessionStorage.getItem(SLOT) ?? "[]");
  if (data.missing && data.missing === kept) setTriggerValue("found", text);
  let pause = null;
  function typed(event) {
    const box = event.target;
    if (box.tagName !== "TEXTAREA" || box.getAttribute("aria-label") !== data.label) return;
    mend(box);
    clearTimeout(pause);
    if (!event.isComposing) pause = setTimeout(() => handOver(box), PAUSE);
  }
  // Streamlit takes the text when these keys go down; what they ask for comes after it.
  function pressed(event) {
    const box = event.target;
    if (!event.isTrusted || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    if (box.tagName !== "TEXTAREA" || box.getAttribute("aria-label") !== data.label) return;
    clearTimeout(pause);
    setTimeout(() => setTriggerValue("run", true));
  }
  document.addEventListener("keydown", pressed, true);
  document.addEventListener("input", typed, true);
  document.addEventListener("compositionend", typed, true);
  return () => {
    clearTimeout(pause);
    document.removeEventListener("keydown", pressed, true);
    document.removeEventListener("input", typed, true);
    document.removeEventListener("compositionend", typed, true);
  };
}

// One text, instead of the one before.
function keep({ label, kept }) {
  const box = [...document.querySelectorAll("textarea")].find((one) => one.getAttribute("aria-label") === label);
  try {
    if (box) sessionStorage.setItem(SLOT, JSON.stringify([kept, box.value]));
  } catch (full) {
    console.info(`the text is not kept for a reload: ${full}`);
  }
}

function mend(box) {
  if (!box.value.isWellFormed || box.value.isWellFormed()) return;
  const [start, end] = [box.selectionStart, box.selectionEnd];
  setValue.call(box, box.value.toWellFormed());
  box.setSelectionRange(start, end);
}

function handOver(box) {
  box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", code: "Enter", ctrlKey: true, bubbles: true }));
}
