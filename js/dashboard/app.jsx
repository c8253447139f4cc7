// The frame: connection, tabs, what was answered, and one section.

import { useState } from "preact/hooks";
import { Events } from "./events.jsx";
import { Machines } from "./machines.jsx";
import { Processes } from "./processes.jsx";
import { Swarm } from "./swarm.jsx";

const SECTIONS = { Machines, Swarm, Processes, Events };

/** Each section is given `store` (see store.js) and `model` (the widget's). */
export function App({ store, model }) {
  const [section, choose] = useState("Machines");
  if (store.state === null) return <p role="status">Waiting for the kernel…</p>;
  const Section = SECTIONS[section];
  return (
    <>
      <div role="tablist">
        {Object.keys(SECTIONS).map((name) => (
          <button role="tab" aria-selected={name === section} onClick={() => choose(name)} key={name}>
            {name}
          </button>
        ))}
      </div>
      <div role="tabpanel">
        <Section store={store} model={model} />
      </div>
    </>
  );
}
