// Keys that are for JupyterLab, though it is told to pass over what is pressed in our views.

/** Is it the one that saves the notebook? */
export const saves = ({ key, ctrlKey, metaKey, altKey, shiftKey }) =>
  (ctrlKey || metaKey) && !altKey && !shiftKey && key.toLowerCase() === "s";

/** Have a key pressed outside, where JupyterLab does not pass over it. */
export function passOn(event, outside) {
  event.preventDefault();
  outside.dispatchEvent(new KeyboardEvent(event.type, event));
}
