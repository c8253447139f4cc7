// What can be done with agents, one or many, with the questions that come before it.

import { descendants } from "./lineage.js";
import { busy, over } from "./states.js";
import { names, several } from "./words.js";

const named = (ids, agents) => names(ids.map((id) => agents[id].label));

/** "alpha (VM build)", or "alpha", where both are called the same. */
function withMachine(id, { agents, machines }) {
  const { label } = agents[id];
  const machine = machines[id]?.label ?? id.slice(0, 8);
  return label === machine ? label : `${label} (VM ${machine})`;
}

/** The machines and commits that came of these VMs, by their labels. */
function offspring(ids, { machines, commits }) {
  const further = descendants(machines, commits, ids);
  const kept = Object.values(commits).filter(({ parent }) => ids.includes(parent) || further.includes(parent));
  return { machines: further.map((id) => machines[id].label), commits: kept.map(({ label }) => label) };
}

/** Why agents cannot be aborted; "" if they can. */
export function whyNotAbort(ids, agents) {
  return ids.some((id) => busy(agents[id])) ? "" : "Nothing is being done that could be aborted.";
}

// A button may be drawn still while its agent is gone, or has nothing to do any more.
const those = (ids, { agents }) => ids.filter((id) => id in agents);

/** Abort those of `ids` that work. */
export function abort(ids, { store, act }) {
  const working = those(ids, store.state).filter((id) => busy(store.state.agents[id]));
  if (working.length) act("abort", { agents: working });
}

/** Start their pis anew; asks, if one is there still. */
export async function restart(drawn, { store, act, ask }) {
  const { agents } = store.state;
  const ids = those(drawn, store.state);
  if (ids.length === 0) return;
  const alive = ids.filter((id) => agents[id].state !== "lost" && !over(agents[id]));
  const sure =
    alive.length === 0 ||
    (await ask({
      title: `Restart ${named(ids, agents)}?`,
      text: `What ${named(alive, agents)} ${alive.length === 1 ? "does" : "do"} now is broken off.`,
      yes: "Restart",
      danger: true,
    }));
  if (sure) act("restart", { agents: ids });
}

/** Delete them with their VMs, when that was asked. */
export async function teardown(drawn, { store, act, ask }) {
  const ids = those(drawn, store.state);
  if (ids.length === 0) return;
  const one = ids.length === 1;
  const whose = one ? "its VM" : "their VMs";
  const from = offspring(ids, store.state);
  const text = [
    `${ids.map((id) => withMachine(id, store.state)).join(", ")}, and all that is on ${whose}.`,
    `What machines ${one ? "it has" : "they have"} made go too, where the platform tells which those are.`,
  ];
  if (from.machines.length) text.push(`Branched or restored from them: ${from.machines.join(", ")}.`);
  if (from.commits.length) text.push(`Commits of them stay: ${from.commits.join(", ")}.`);
  const title = `Delete ${several(ids.length, "agent")} with ${whose}?`;
  const yes = `Delete ${several(ids.length, "VM")}`;
  if (await ask({ title, text, yes, danger: true })) act("teardown", { agents: ids });
}
