// What commands have written, until it is closed.

import { useRef, useState } from "preact/hooks";
import { Pane } from "./panes.jsx";
import { Code } from "./parts.jsx";

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

/** A pane for each. */
export function Outputs({ outputs: { all, close } }) {
  return all.map(({ id, command, where, answer }) => (
    <Pane
      label={`${command} on ${where}`}
      title={
        <>
          <code title={command}>{command}</code>
          <span class="pi-v-dim">on {where}</span>
        </>
      }
      closing={`Close the output of ${command}`}
      onClose={() => close(id)}
      key={id}
    >
      <pre tabIndex={0} role="region" aria-label={`Output of ${command}`}>
        {answer === null ? "…" : answer.text || "(no output)"}
      </pre>
      <div role="status">
        {answer?.ok === false && (
          <p class="pi-v-ended">
            ✗ Failed. <Code text={answer.hint} />
          </p>
        )}
        {answer?.ok && <span class="pi-v-aside">Done.</span>}
      </div>
    </Pane>
  ));
}
