// The rows of the table of machines: drawn again only when what is in them is another.

import { CommitName } from "./commits.jsx";
import { Graph } from "./graph.jsx";
import { Age, Button, memo, Menu, useFrame } from "./parts.jsx";

const STATES = { booting: "◌", running: "●", paused: "‖", sleeping: "☾", dead: "✗" };
const LINKS = { connected: "connected", away: "lost" };
const LINK_TITLES = { connected: "The kernel is connected to it", away: "It does not answer the kernel, which tries again" };

/** `origin`: what it came from is called; `actions(id)`: what its menu has. */
export const MachineRow = memo(({ id, machine, origin, chosen, choose, actions, ...graph }) => {
  const running = machine.state === "running";
  return (
    <Row id={id} called={machine.label} chosen={chosen} choose={choose} actions={actions}
      graph={<Graph {...graph} mark={running ? "running" : "still"} active={machine.active} />}
      name={
        <>
          {machine.active && (
            <span class="pi-v-star" title="Cells run here">
              <span aria-hidden="true">★</span>
              <span class="pi-v-aside">active </span>
            </span>
          )}
          <span class="pi-v-name" title={machine.label}>
            {machine.label}
          </span>
          {origin && <span class="pi-v-aside"> from {origin}</span>}
          {graph.up === "gone" && <Gone parent={machine.parent} />}
          {machine.aside && (
            <span class="pi-v-chip pi-v-dim" title="Plan mode made this branch for commands to run in, and deletes it">
              plan mode
            </span>
          )}
          {machine.tunnels.length > 0 && (
            <div class="pi-v-tunnels">
              {machine.tunnels.map((tunnel) => (
                <TunnelChip vm={id} tunnel={tunnel} called={machine.label} key={tunnel} />
              ))}
            </div>
          )}
        </>
      }
    >
      <td role="cell" class={`pi-v-vm-state pi-v-${machine.state}`}>
        <span aria-hidden="true">{STATES[machine.state] ?? "○"}</span> {machine.state}
      </td>
      <td role="cell">
        <Age at={machine.created} />
      </td>
      <td role="cell" class="pi-v-dim" title={machine.disk ? `${machine.disk} disk` : undefined}>
        {machine.size}
      </td>
      <td role="cell" class="pi-v-vm-agent" data-column="agent">
        {machine.agent}
      </td>
      <td role="cell" class={machine.link === "away" ? "pi-v-vm-link pi-v-warns" : "pi-v-vm-link pi-v-dim"} data-column="link" title={LINK_TITLES[machine.link]}>
        {LINKS[machine.link]}
      </td>
    </Row>
  );
});

/** Likewise. */
export const CommitRow = memo(({ id, commit, origin, chosen, choose, actions, ...graph }) => (
  <Row id={id} called={commit.label} chosen={chosen} choose={choose} actions={actions}
    graph={<Graph {...graph} mark="commit" />}
    name={
      <>
        <CommitName commit={commit} />
        {origin && <span class="pi-v-aside"> of {origin}</span>}
        {graph.up === "gone" && <Gone parent={commit.parent} />}
      </>
    }
  >
    <td role="cell" class="pi-v-dim">
      {commit.golden && <span title="Agents start from it">golden</span>}
      <span class={commit.golden ? "pi-v-aside" : undefined}> commit</span>
    </td>
    <td role="cell" class="pi-v-dim">
      <Age at={commit.created} />
    </td>
    <td role="cell" />
    <td role="cell" class="pi-v-vm-agent" />
    <td role="cell" class="pi-v-vm-link" />
  </Row>
));

/** Says that what it came from is no more: that is known by its id alone. */
function Gone({ parent }) {
  return (
    <span class="pi-v-chip pi-v-dim" title={`It came from ${parent.slice(0, 8)}, which is gone`}>
      parent gone
    </span>
  );
}

function Row({ id, called, chosen, choose, actions, graph, name, children }) {
  return (
    <tr role="row" class={chosen ? "pi-v-picked" : undefined} data-id={id}>
      <td role="cell" class="pi-v-graph">
        {graph}
      </td>
      <td role="cell" class="pi-v-pick">
        <input
          type="checkbox"
          aria-label={`Choose ${called}`}
          checked={chosen}
          onClick={(event) => choose(id, event.target.checked, event.shiftKey)}
        />
      </td>
      <th role="rowheader" scope="row">
        {name}
      </th>
      {children}
      <td role="cell" class="pi-v-more">
        <Menu label="⋯" aria-label={`Actions for ${called}`} title="Actions" kind="quiet" actions={() => actions(id)} />
      </td>
    </tr>
  );
}

/** Such as "8000 → 80"; it can be closed. */
function TunnelChip({ vm, tunnel, called }) {
  const { act } = useFrame();
  const [local, , port] = tunnel.split(" ").map(Number);
  return (
    <span class="pi-v-chip">
      <a
        href={`http://127.0.0.1:${local}`}
        target="_blank"
        rel="noopener"
        title={`Port ${local} of the computer that the kernel runs on leads to port ${port} of ${called}`}
      >
        {tunnel}
      </a>
      <Button
        kind="quiet"
        title="Close this tunnel"
        aria-label={`Close the tunnel ${tunnel} of ${called}`}
        onClick={() => act("close_tunnel", { vm, port })}
      >
        ×
      </Button>
    </span>
  );
}
