// Background processes: what runs, where, what it takes, and what it has written.

import { useCallback, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Age, Button, Code, Empty, memo, Modal, Refused, useFrame } from "./parts.jsx";
import { names } from "./words.js";
import "./processes.css";

const SIGNS = { running: "⟳", ended: "○", lost: "✗" };
const LINES = 200; // of a log
const NEAR = 4; // pixels from its end that count as there

/** Such as 950 kB or 1.2 GB. */
function size(bytes) {
  if (bytes === 0) return "";
  if (!Number.isFinite(bytes)) return "—";
  const [unit, word] = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([least]) => bytes >= least) ?? [1, "B"];
  const number = bytes / unit;
  return `${number.toFixed(number < 10 && unit > 1 ? 1 : 0)} ${word}`;
}

export function Processes({ store }) {
  const { processes, machines } = store.state;
  const [read, setRead] = useState(null); // {key, text, failure}: a log that is shown; `text`: null until it is read
  const shown = useRef("");
  const { act } = useFrame();
  const show = useCallback(async (key) => {
    shown.current = key;
    setRead((before) => ({ key, text: before?.key === key ? before.text : null, failure: null }));
    const told = () => shown.current === key;
    const answer = await act("logs", { process: key, last: LINES }, { quiet: true, told });
    if (told()) setRead((before) => (answer.ok ? { key, text: answer.text, failure: null } : { ...before, failure: answer }));
  }, []);
  const close = () => {
    shown.current = "";
    setRead(null);
  };
  const latest = Object.keys(processes).sort((one, other) => processes[other].started - processes[one].started);
  const running = latest.filter((key) => processes[key].state === "running");
  const rest = latest.filter((key) => processes[key].state !== "running");
  if (latest.length === 0) {
    return (
      <Empty>
        <NotLooked machines={machines} />
        <p>
          <Code text="No background processes. `%bg start ID -- COMMAND` starts one, on the active VM or here." />
        </p>
      </Empty>
    );
  }
  return (
    <div class="pi-v-processes">
      <table>
        <thead>
          <tr>
            {["Process", "Machine", "State", "Command", "CPU", "Memory", "Age", "Last line"].map((name) => (
              <th scope="col" key={name}>
                {name}
              </th>
            ))}
            <th scope="col">
              <span class="pi-v-aside">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {[...running, ...rest].map((key) => (
            <Row id={key} process={processes[key]} show={show} key={key} />
          ))}
        </tbody>
      </table>
      <NotLooked machines={machines} />
      {read && <Log read={read} name={processes[read.key]?.id ?? read.key} again={() => show(read.key)} onClose={close} />}
    </div>
  );
}

/** Machines whose processes are not known, as nothing has connected to them. */
function NotLooked({ machines }) {
  const { act } = useFrame();
  const vms = Object.keys(machines).filter((id) => machines[id].state === "running" && machines[id].link === "");
  if (vms.length === 0) return null;
  return (
    <p class="pi-v-not-looked">
      Not looked at: {names(vms.map((id) => machines[id].label))}: cells have not run there yet.{" "}
      <Button onClick={() => act("connect", { vms })}>Look there too</Button>
    </p>
  );
}

const Row = memo(({ id, process, show }) => {
  const { act, ask } = useFrame();
  async function forget() {
    const title = `Forget ${process.id}?`;
    const text = `What it has written on ${process.machine} goes with it.`;
    if (await ask({ title, text, yes: "Forget", danger: true })) act("forget", { process: id });
  }
  async function stop() {
    const title = `Stop ${process.id}?`;
    const text = [`It is on ${process.machine}: ${process.command}`, "All it has started ends with it; what was written stays."];
    if (await ask({ title, text, yes: "Stop", danger: true })) act("stop", { process: id });
  }
  const running = process.state === "running";
  return (
    <tr class={`pi-v-process-${process.state}`}>
      <th scope="row">{process.id}</th>
      <td data-name="Machine">{process.machine}</td>
      <td data-name="State">
        <span class="pi-v-sign" aria-hidden="true">
          {SIGNS[process.state]}
        </span>
        {running ? "running" : process.outcome || process.state}
      </td>
      <td data-name="Command" class="pi-v-long">
        <code title={process.command}>{process.command}</code>
      </td>
      <td data-name="CPU" class="pi-v-number">
        {running && (Number.isFinite(process.cpu) ? `${process.cpu.toFixed(0)} %` : "—")}
      </td>
      <td data-name="Memory" class="pi-v-number">
        {size(process.memory)}
      </td>
      <td data-name="Age" class="pi-v-number">
        <Age at={process.ended || process.started} />
        {process.ended > 0 && " ago"}
      </td>
      <td data-name="Last line" class="pi-v-long">
        <code title={process.line}>{process.line}</code>
      </td>
      <td class="pi-v-row-actions">
        <Button kind="quiet" aria-label={`Log of ${process.id}`} onClick={() => show(id)}>
          Log
        </Button>
        {process.state !== "ended" && (
          <Button
            kind="quiet"
            aria-label={`Stop ${process.id}`}
            title="SIGTERM to it and all it has started; SIGKILL to what has not ended in time"
            onClick={stop}
          >
            Stop…
          </Button>
        )}
        {!running && (
          <Button
            kind="quiet"
            aria-label={`Forget ${process.id}`}
            onClick={forget}
          >
            Forget…
          </Button>
        )}
      </td>
    </tr>
  );
});

function Log({ read, name, again, onClose }) {
  const box = useRef(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [read]);
  function scrolled({ target: { scrollTop, scrollHeight, clientHeight } }) {
    atEnd.current = scrollHeight - scrollTop - clientHeight < NEAR;
  }
  return (
    <Modal title={`Log of ${name}`} onClose={onClose} wide>
      <pre class="pi-v-log" ref={box} onScroll={scrolled} tabIndex={0} role="region" aria-label={`The last ${LINES} lines of ${name}`}>
        {read.text === null ? !read.failure && "Reading…" : read.text || "Nothing was written."}
      </pre>
      <Refused failure={read.failure} />
      <footer>
        <Button onClick={again}>Read again</Button>
      </footer>
    </Modal>
  );
}
