// What has the focus may go: its row, its card, its pane. The focus then stays near, rather than nowhere.

const ROW = "tr, article";
const HARMLESS = "input, button"; // the first in a row: a key that is still held does nothing there that is to be asked

/** Look after the focus in `root`, which has a panel for it to fall back on, until what this gives is called. */
export function keepFocus(root) {
  let last = null; // what has the focus, or had it when it went
  const focused = (event) => (last = inside(event) ? event.composedPath()[0] : null);
  const pressed = (event) => inside(event) || (last = null);
  const inside = (event) => event.composedPath().includes(root);

  function near(records) {
    const { activeElement } = root.getRootNode();
    if (last === null || last.isConnected || (activeElement && activeElement !== document.body)) return;
    const gone = records.find(({ removedNodes }) => [...removedNodes].some((node) => node.contains(last)));
    if (!gone) return;
    const rows = [gone.nextSibling, gone.previousSibling].filter((node) => node?.isConnected && node.matches?.(ROW));
    const panel = root.querySelector("[role=tabpanel]:not([hidden])");
    (rows[0]?.querySelector(HARMLESS) ?? panel)?.focus({ preventScroll: true });
  }
  const goings = new MutationObserver(near);
  goings.observe(root, { childList: true, subtree: true });
  document.addEventListener("focusin", focused);
  document.addEventListener("pointerdown", pressed, true);
  return () => {
    goings.disconnect();
    document.removeEventListener("focusin", focused);
    document.removeEventListener("pointerdown", pressed, true);
  };
}
