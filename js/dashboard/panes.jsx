// What opens below the machines and can be closed: outputs and terminals.

import { useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "./parts.jsx";

/** `title`: what is drawn in its head; `closing`: what the button says to who does not see it. */
export function Pane({ label, title, closing, tip = "Close", onClose, children }) {
  const ref = useRef(null);
  useLayoutEffect(() => ref.current.scrollIntoView({ block: "nearest" }), []);
  return (
    <section class="pi-v-panel" aria-label={label} ref={ref}>
      <header>
        {title}
        <Button kind="quiet" title={tip} aria-label={closing} onClick={onClose}>
          ×
        </Button>
      </header>
      {children}
    </section>
  );
}
