// What commands write, as it comes, until it is closed.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Pane } from "./panes.jsx";
import { Button, Code, useFrame } from "./parts.jsx";

const KEPT = 64 << 10; // characters of each
const NEAR = 8; // pixels from the end at which one is there still

/** {all, show(command, where, alone, start), close(id)}; `start(piece)`: as store.js's `act`, on one machine `alone`. */
export function useOutputs() {
  const [all, setAll] = useState([]);
  const count = useRef(0);
  const close = (id) => setAll((before) => before.filter((output) => output.id !== id));
  function show(command, where, alone, start) {
    const output = { id: ++count.current, command, where, text: "", cut: 0, ended: null, changed() {} };
    const promise = start((piece) => {
      const text = output.text + piece;
      output.text = text.slice(-KEPT);
      output.cut += text.length - output.text.length;
      output.changed();
    });
    output.intent = promise.id;
    promise.then((answer) => {
      end(output, answer, alone);
      output.changed();
    });
    setAll((before) => [...before, output]);
  }
  return { all, show, close };
}

/** The answer has all that was written, and last, of one machine, why it failed; of one that was stopped, only that. */
function end(output, { ok, text, hint, stopped }, alone) {
  const at = ok ? text.length : text.lastIndexOf("\n");
  const [written, why] = ok || !(alone || at < 0) ? [text, "Failed."] : [text.slice(0, Math.max(0, at)), text.slice(at + 1)];
  if (ok || written) Object.assign(output, { text: written, cut: 0 });
  output.ended = { ok, stopped, text: ok ? "Done." : `${why} ${hint}`.trim() };
}

function signOf(ended) {
  if (!ended) return "⟳";
  return ended.ok ? "✓" : ended.stopped ? "⊘" : "✗";
}

/** A pane for each. */
export function Outputs({ outputs: { all, close } }) {
  return all.map((output) => <Output output={output} onClose={() => close(output.id)} key={output.id} />);
}

function Output({ output, onClose }) {
  const { act } = useFrame();
  const [, draw] = useState(0);
  const [stopping, setStopping] = useState(false);
  const box = useRef(null);
  const follows = useRef(true);
  useEffect(() => {
    let frame = 0;
    output.changed = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        draw((times) => times + 1);
      });
    };
    output.changed(); // for what came before
    return () => {
      cancelAnimationFrame(frame);
      output.changed = () => {};
    };
  }, [output]);
  useLayoutEffect(() => {
    if (follows.current) box.current.scrollTop = box.current.scrollHeight;
  });
  function look({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) {
    follows.current = scrollHeight - scrollTop - clientHeight <= NEAR;
  }
  async function stop() {
    if (output.ended || stopping) return;
    setStopping(true);
    const { ok } = await act("cancel", { intent: output.intent }, { quiet: true });
    if (!ok) setStopping(false);
  }
  function close() {
    stop();
    onClose();
  }
  const { command, where, text, cut, ended } = output;
  return (
    <Pane
      label={`${command} on ${where}`}
      title={
        <>
          <code title={command}>{command}</code>
          <span class="pi-v-dim">on {where}</span>
        </>
      }
      closing={`${ended ? "Close the output of" : "Stop and close"} ${command}`}
      tip={ended ? "Close" : "Stop it, and close this"}
      onClose={close}
    >
      <pre tabIndex={0} role="region" aria-label={`Output of ${command}`} ref={box} onScroll={look}>
        {cut > 0 && `… ${cut} characters left out …\n`}
        {text || (ended ? "(no output)" : "")}
      </pre>
      <div class="pi-v-ended">
        <span role="status" class={ended && !ended.ok && !ended.stopped ? "pi-v-bad" : "pi-v-dim"}>
          {`${signOf(ended)} `}
          <Code text={ended ? ended.text : "It runs…"} />
        </span>
        {!ended && (
          <Button onClick={stop} why={stopping ? "It is being stopped." : ""}>
            Stop
          </Button>
        )}
      </div>
    </Pane>
  );
}
