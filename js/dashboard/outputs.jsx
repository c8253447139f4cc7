// What commands have written, until it is closed.

import { useRef, useState } from "preact/hooks";
import { Button } from "./parts.jsx";

/** {all, show(command, where, promise of an answer), close(id)}. */
export function useOutputs() {
  const [all, setAll] = useState([]);
  const count = useRef(0);
  const close = (id) => setAll((before) => before.filter((output) => output.id !== id));
  async function show(command, where, promise) {
    const id = ++count.current;
    setAll((before) => [...before, { id, command, where, answer: null }]);
    const answer = await promise;
    setAll((before) => before.map((output) => (output.id === id ? { ...output, answer } : output)));
  }
  return { all, show, close };
}

/** A panel for each. */
export function Outputs({ outputs: { all, close } }) {
  return all.map(({ id, command, where, answer }) => (
    <section class="pi-v-panel" aria-label={`Output of ${command}`} key={id}>
      <header>
        <code title={command}>{command}</code>
        <span class="pi-v-dim">on {where}</span>
        <Button kind="quiet" title="Close" aria-label={`Close the output of ${command}`} onClick={() => close(id)}>
          ×
        </Button>
      </header>
      <pre tabIndex={0} aria-label="Output" role="region">
        {answer === null ? "…" : answer.text || "(no output)"}
      </pre>
    </section>
  ));
}
