// Machines and commits: where they came from, what they do, and what can be done with them.

import { useMemo, useRef, useState } from "preact/hooks";
import { commitActions } from "./commits.jsx";
import { Legend } from "./graph.jsx";
import { lineage } from "./lineage.js";
import { create, machineActions } from "./machineactions.js";
import { MachineTable } from "./machinetable.jsx";
import { Outputs, useOutputs } from "./outputs.jsx";
import { Button, Empty, memo, Menu, useFrame } from "./parts.jsx";
import { useSelection } from "./selection.js";
import { Terminals, useTerminals } from "./terminals.jsx";
import { several } from "./words.js";
import "./machines.css";

const EMPTY = {
  ok: "No machines yet.",
  connecting: "Machines are being looked for…",
  trouble: "Which machines there are is not known: the platform does not answer.",
};

/** The section. */
export function Machines({ store, model }) {
  const { machines, commits, here, connection } = store.state;
  return <Section machines={machines} commits={commits} here={here} reach={connection.state} model={model} />;
}

const Section = memo(({ machines, commits, here, model }) => {
  const frame = useFrame();
  const [withCommits, setWithCommits] = useState(true);
  const rows = useMemo(() => lineage(machines, commits, withCommits), [machines, commits, withCommits]);
  const order = useMemo(() => rows.map(({ id }) => id), [rows]);
  const selection = useSelection(order);
  const outputs = useOutputs();
  const terminals = useTerminals(model);
  const show = { output: outputs.show, terminal: terminals.open };
  const actions = useRef((id) => {
    const { machines, commits } = frame.store.state;
    if (id in machines) return machineActions(frame, [id], show);
    return id in commits ? commitActions(frame, [id]) : []; // its row goes with the next frame
  }).current;
  return (
    <div class="pi-v-machines">
      <div class="pi-v-tools">
        {rows.length > 0 && (
          <Button kind="main" onClick={() => create(frame)}>
            New machine…
          </Button>
        )}
        <Button why={here ? "Cells run here already." : ""} onClick={() => frame.act("local")} title="Cells run on this computer again">
          Run here
        </Button>
        <label class="pi-v-check">
          <input type="checkbox" role="switch" checked={withCommits} onClick={() => setWithCommits(!withCommits)} />
          With commits
        </label>
      </div>
      {rows.length > 0 ? (
        <>
          <Actions frame={frame} selection={selection} show={show} />
          <MachineTable rows={rows} machines={machines} commits={commits} selection={selection} actions={actions} />
          <Legend withCommits={rows.some(({ id }) => id in commits)} />
        </>
      ) : (
        <Empty>
          <p>
            {Object.keys(commits).length
              ? `No machines now; ${several(Object.keys(commits).length, "commit")} can be restored.`
              : EMPTY[frame.store.state.connection.state]}
            {here && " Cells run on this computer."}
          </p>
          <Button kind="main" onClick={() => create(frame)}>
            New machine…
          </Button>
        </Empty>
      )}
      <Outputs outputs={outputs} />
      <Terminals terminals={terminals} />
    </div>
  );
});

/** What can be done with what is chosen. */
function Actions({ frame, selection: { chosen }, show }) {
  const { machines, commits: there } = frame.store.state;
  const vms = [...chosen].filter((id) => id in machines);
  const commits = [...chosen].filter((id) => id in there); // what has just gone, its row goes with the next frame
  return (
    <div class="pi-v-actions">
      {(vms.length > 0 || commits.length === 0) && (
        <Group
          name={vms.length ? several(vms.length, "machine") : "Choose machines below first"}
          some={vms.length > 0}
          actions={machineActions(frame, vms, show)}
        />
      )}
      {commits.length > 0 && <Group name={several(commits.length, "commit")} some actions={commitActions(frame, commits)} />}
    </div>
  );
}

/** A row of buttons, or, in a narrow view, a menu. */
function Group({ name, some, actions }) {
  return (
    <div role="group" aria-label={`Actions for ${name}`}>
      <span class="pi-v-dim pi-v-about">{name}</span>
      <span class="pi-v-row">
        {actions.map(({ label, onClick, why, danger }) => (
          <Button onClick={onClick} why={why} kind={danger ? "danger" : ""} key={label}>
            {label}
          </Button>
        ))}
      </span>
      <Menu label="Actions ▾" aria-label="Actions" why={some ? "" : actions[0].why} actions={actions} />
    </div>
  );
}
