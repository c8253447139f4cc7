// The frame: connection, tabs, what was answered, dialogs, and one section.

import { Component } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import { Failures, Latest, useAnswers } from "./answers.jsx";
import { Connection } from "./connection.jsx";
import { Form } from "./dialogs.jsx";
import { Events } from "./events.jsx";
import { Frame } from "./frame.js";
import { Machines } from "./machines.jsx";
import { Code } from "./parts.jsx";
import { Processes } from "./processes.jsx";
import { Swarm } from "./swarm.jsx";
import { useTabs } from "./tabs.jsx";

/** All of a view; `clock` ticks each second, `redraw` has all of it drawn soon. Each section is given `store` (see store.js) and `model` (the widget's). */
export function App({ store, model, clock, redraw }) {
  const answers = useAnswers(store);
  const { ask, fill, dialog } = useDialogs();
  const frame = useMemo(() => ({ store, clock, redraw, act: answers.act, ask, fill }), []);
  return (
    <Frame.Provider value={frame}>
      {store.state === null ? (
        <p class="pi-v-empty" role="status">
          <Code text={store.gone ? "The kernel that could show this is gone. Run `%load_ext pi_v_jupyter` and `%vers` for a live dashboard." : "Waiting for the kernel…"} />
        </p>
      ) : (
        <Sections store={store} model={model} answers={answers} />
      )}
      {dialog}
    </Frame.Provider>
  );
}

function Sections({ store, model, answers }) {
  const { machines, sums, processes } = store.state;
  const running = Object.values(processes).filter(({ state }) => state === "running").length;
  const given = { store, model };
  const { tabs, panels } = useTabs({
    Machines: { label: <Label name="Machines" count={Object.keys(machines).length} />, panel: <Guarded name="Machines" of={store.state}><Machines {...given} /></Guarded> },
    Swarm: {
      label: (
        <Label name="Swarm" count={sums.agents}>
          <Count mark="⟳" number={sums.working} word="working" />
          <Count mark="?" number={sums.waiting} word="waiting for an answer" />
        </Label>
      ),
      panel: <Guarded name="Swarm" of={store.state}><Swarm {...given} /></Guarded>,
    },
    Processes: { label: <Label name="Processes" count={running} />, panel: <Guarded name="Processes" of={store.state}><Processes {...given} /></Guarded> },
    Events: { label: "Events", panel: <Guarded name="Events" of={store.state}><Events {...given} /></Guarded> },
  });
  return (
    <>
      <Connection store={store} />
      <div class="pi-v-bar">
        {tabs}
        <Latest answers={answers} />
      </div>
      <Failures answers={answers} />
      {panels}
    </>
  );
}

/** A section, or, where a snapshot cannot be drawn, a sentence until there is another. */
class Guarded extends Component {
  componentDidCatch(error) {
    console.error(error);
    this.setState({ failed: this.props.of });
  }
  render({ name, of, children }, { failed }) {
    return failed === of ? <p role="alert">{name} cannot be drawn now; the browser’s console tells why.</p> : children;
  }
}

function Label({ name, count, children }) {
  return (
    <>
      {name}
      {count > 0 && <span class="pi-v-count"> {count}</span>}
      {children}
    </>
  );
}

function Count({ mark, number, word }) {
  return (
    number > 0 && (
      <span class="pi-v-count" title={`${number} ${word}`}>
        {" "}
        <span aria-hidden="true">{mark}</span>
        {number}
        <span class="pi-v-aside"> {word}</span>
      </span>
    )
  );
}

/** {ask, fill, dialog}: see parts.jsx; one that is asked for while another is open comes after it. */
function useDialogs() {
  const [waiting, setWaiting] = useState([]);
  const count = useRef(0);
  const fill = (given) =>
    new Promise((resolve) => {
      const id = ++count.current;
      const onDone = (values) => {
        setWaiting((all) => all.filter((one) => one.id !== id));
        resolve(values);
      };
      setWaiting((all) => [...all, { id, given, onDone }]);
    });
  const ask = async (given) => (await fill(given)) !== null;
  const [open] = waiting;
  const dialog = open && <Form {...open.given} onDone={open.onDone} key={open.id} />;
  return { ask, fill, dialog };
}
