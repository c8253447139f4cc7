// What sections are made of.

import { useEffect, useRef } from "preact/hooks";

/** A time in the largest unit that fits: 12 s, 5 min, 3 h, 4 d. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit}`;
  }
  return `${whole} s`;
}

/** Such as $0.0042, or $1.20. */
export function money(dollars) {
  return dollars === 0 ? "" : `$${dollars.toFixed(dollars < 0.1 ? 4 : 2)}`;
}

/** A modal dialog that is open as long as it is there. `onClose` is called when it is dismissed. */
export function Modal({ title, onClose, children }) {
  const ref = useRef(null);
  useEffect(() => ref.current.showModal(), []);
  return (
    <dialog ref={ref} class="pi-v-modal" aria-label={title} onClose={onClose}>
      <h2>{title}</h2>
      {children}
    </dialog>
  );
}
