// Hands over what is typed into a text box at every pause, as if Ctrl and Enter had been pressed in it.
//
// Data: { label }, the text box's. Half a surrogate pair is no UTF-8, and Streamlit's server cannot parse any message
// from a page that holds one: it becomes U+FFFD, which can be seen, before Streamlit reads the box.

const PAUSE = 600;
const setValue = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;

export default function ({ data }) {
  let pause = null;
  function typed(event) {
    const box = event.target;
    if (box.tagName !== "TEXTAREA" || box.getAttribute("aria-label") !== data.label) return;
    mend(box);
    clearTimeout(pause);
    if (!event.isComposing) pause = setTimeout(() => handOver(box), PAUSE);
  }
  document.addEventListener("input", typed, true);
  document.addEventListener("compositionend", typed, true);
  return () => {
    clearTimeout(pause);
    document.removeEventListener("input", typed, true);
    document.removeEventListener("compositionend", typed, true);
  };
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
