// The table of machines and commits, with their lineage at its left.

import { graphWidth } from "./graph.jsx";
import { CommitRow, MachineRow } from "./rows.jsx";

const COLUMNS = ["State", "Age", "Size"];
const TITLES = { State: "What a machine does, as the platform tells it", Link: "Is the kernel connected to it?" };
const SELDOM = { agent: "Agent", link: "Link" }; // columns that are there only if they have something

/** `rows`: those of lineage.js; `selection`: that of selection.js; `actions(id)`: what a row's menu has. */
export function MachineTable({ rows, machines, commits, selection, actions }) {
  const { chosen, choose, chooseAll } = selection;
  const lanes = Math.max(...rows.map(({ lane }) => lane)) + 1;
  const labelOf = (id) => (machines[id] ?? commits[id])?.label;
  const empty = Object.keys(SELDOM).filter((name) => !Object.values(machines).some((machine) => machine[name].length));
  return (
    <div class="pi-v-scroll">
      <table
        role="table"
        class={["pi-v-table", ...empty.map((name) => `pi-v-no-${name}`)].join(" ")}
        aria-label="Machines"
        style={`--pi-v-graph: ${graphWidth(lanes)}px`}
      >
        <thead role="rowgroup">
          <tr role="row">
            <td role="cell" class="pi-v-graph" />
            <td role="cell" class="pi-v-pick">
              <input
                type="checkbox"
                aria-label="Choose all"
                checked={chosen.size === rows.length}
                indeterminate={chosen.size > 0 && chosen.size < rows.length}
                onClick={(event) => chooseAll(event.target.checked)}
              />
            </td>
            <th role="columnheader" scope="col">
              Name
            </th>
            {COLUMNS.map((column) => (
              <th role="columnheader" scope="col" title={TITLES[column]} key={column}>
                {column}
              </th>
            ))}
            {Object.entries(SELDOM).map(([name, column]) => (
              <th role="columnheader" scope="col" class={`pi-v-vm-${name}`} title={TITLES[column]} key={name}>
                {column}
              </th>
            ))}
            <td role="cell" class="pi-v-more" />
          </tr>
        </thead>
        <tbody role="rowgroup" onKeyDown={(event) => walk(event, choose)}>
          {rows.map(({ id, origin, ...graph }) => {
            const given = { id, origin: labelOf(origin), chosen: chosen.has(id), choose, actions, ...graph };
            return id in machines ? (
              <MachineRow {...given} machine={machines[id]} key={id} />
            ) : (
              <CommitRow {...given} commit={commits[id]} key={id} />
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** Up and Down go from box to box; with Shift they choose what is on their way. */
function walk(event, choose) {
  const { target, key, shiftKey } = event;
  if (target.type !== "checkbox" || (key !== "ArrowUp" && key !== "ArrowDown")) return;
  event.preventDefault();
  const row = target.closest("tr");
  const next = key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling;
  if (!next) return;
  next.querySelector("input").focus();
  if (shiftKey) choose(next.dataset.id, true, true);
}
