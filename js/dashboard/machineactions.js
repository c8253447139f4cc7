// What can be done with machines: each action's button, why it cannot be used now, and what is asked first.

import { descendants } from "./lineage.js";
import { names, SEND, several } from "./words.js";

export const HOW_MANY = { name: "n", type: "number", value: 1, min: 1, max: 100, required: true };
const TAG = { name: "tag", label: "Tag", hint: "A name that can move to another commit, such as `stable`." };

/** For the machines `ids`: a list of {label, onClick, why, danger}. `show`: {output, terminal}, see machines.jsx. */
export function machineActions({ store, act, fill }, ids, show) {
  const { machines, commits } = store.state;
  const those = ids.map((id) => machines[id]);
  const inState = (...states) => ids.filter((id) => states.includes(machines[id].state));
  const running = inState("running");
  const asleep = inState("paused", "sleeping");
  const [vm] = ids;
  const [machine] = those;
  const called = names(those.map(({ label }) => label));
  const some = ids.length ? "" : "Choose machines first.";
  const one = ids.length === 1 ? "" : some || "Choose one machine only.";
  const alive = some || (inState("dead", "booting").length ? "Not all of them are up." : "");
  const allRun = some || (running.length < ids.length ? "Not all of them are running." : "");

  async function exec() {
    const command = { name: "command", label: "Command", type: "textarea", required: true, hint: `${SEND} runs it.` };
    const values = await fill({ title: `Run on ${called}`, fields: [command], yes: "Run" });
    if (values) {
      const start = (piece) => store.act("exec", { vms: ids, ...values }, piece);
      show.output(values.command.trim(), called, ids.length === 1, start);
    }
  }
  function branch() {
    const fields = [
      { ...HOW_MANY, label: ids.length === 1 ? "How many" : "How many of each" },
      ...(ids.length === 1 ? [{ name: "name", label: "Name" }] : []), // of several, they cannot have one name
    ];
    const text = "Running copies, memory and disk.";
    fill({ title: `Branch ${called}`, text, fields, yes: "Branch", intent: (values) => ["branch", { vms: ids, ...values }] });
  }
  function commit() {
    const fields = [{ name: "name", label: "Name" }, ...(ids.length === 1 ? [TAG] : [])];
    const text = "Keeps memory and disk as they are now.";
    fill({ title: `Commit ${called}`, text, fields, yes: "Commit", intent: (values) => ["commit", { vms: ids, ...values }] });
  }
  function rename() {
    const fields = [{ name: "name", label: "Name", value: machine.name, required: true }];
    fill({ title: `Rename ${machine.label}`, fields, yes: "Rename", intent: (values) => ["rename", { vm, ...values }] });
  }
  function tunnel() {
    const port = { type: "number", min: 1, max: 65535 };
    const fields = [
      { name: "port", label: `Port on ${machine.label}`, required: true, ...port },
      { name: "local", label: "Port here", hint: "Left empty, one that is free.", ...port },
    ];
    fill({ title: `Tunnel to ${machine.label}`, fields, yes: "Open", intent: (values) => ["tunnel", { vm, ...values }] });
  }
  async function remove() {
    const further = descendants(machines, commits, ids);
    const values = await fill({
      title: ids.length === 1 ? `Delete ${called}?` : `Delete ${several(ids.length, "machine")}?`,
      text: goes({ machines, commits }, ids, further),
      fields: further.length ? [{ name: "branches", label: `Delete ${further.length === 1 ? "that one" : "those"} too`, type: "checkbox" }] : [],
      yes: "Delete",
      danger: true,
    });
    if (values) act("delete", { vms: values.branches ? [...ids, ...further] : ids });
  }

  return [
    { label: "Use", why: one || (machine.active ? "Cells run on it already." : ""), onClick: () => act("use", { vm }) },
    { label: "Exec…", why: allRun, onClick: exec },
    { label: "Terminal", why: one || allRun, onClick: () => show.terminal(vm) },
    { label: "Branch…", why: alive, onClick: branch },
    { label: "Commit…", why: alive, onClick: commit },
    { label: "Pause", why: some || (running.length ? "" : "None of them is running."), onClick: () => act("pause", { vms: running }) },
    { label: "Resume", why: some || (asleep.length ? "" : "None of them is paused."), onClick: () => act("resume", { vms: asleep }) },
    { label: "Rename…", why: one, onClick: rename },
    { label: "Tunnel…", why: one || allRun, onClick: tunnel },
    { label: "Delete…", why: some, onClick: remove, danger: true },
  ];
}

/** What goes with machines, and what came from them. */
function goes({ machines, commits }, ids, further) {
  const it = ids.length === 1 ? "it" : "them";
  const agents = working(machines, ids);
  const too = working(machines, further);
  const active = ids.find((id) => machines[id].active);
  const next = further.find((id) => machines[id].active);
  const kept = Object.values(commits).filter(({ parent }) => ids.includes(parent));
  return [
    ids.length > 1 && `${names(labels(machines, ids))} go.`,
    `What is on ${it} and was not committed is lost.`,
    active && `Cells run on ${machines[active].label} now: afterwards they run on this computer, until another is chosen.`,
    agents.length > 0 && `${agentsWork(agents)} there: ${names(agents)}.`,
    kept.length > 0 && `${several(kept.length, "commit")} of ${it} will stay: ${names(kept.map(({ label }) => label))}.`,
    further.length > 0 && `${several(further.length, "machine")} came from ${it}: ${names(labels(machines, further))}.`,
    too.length > 0 && `${agentsWork(too)} on ${further.length === 1 ? "that one" : "those"}: ${names(too)}.`,
    next && `Cells run on ${machines[next].label} now.`,
  ].filter(Boolean);
}

const working = (machines, ids) => ids.map((id) => machines[id].agent).filter(Boolean);
const agentsWork = (agents) => (agents.length === 1 ? "An agent works" : `${agents.length} agents work`);

const labels = (items, ids) => ids.map((id) => items[id].label);

/** A new machine, as somebody describes it. */
export function create({ fill }) {
  fill({
    title: "New machine",
    fields: [
      { name: "name", label: "Name" },
      { name: "vcpu", label: "vCPUs", type: "number", min: 1 },
      { name: "mem", label: "Memory (MiB)", type: "number", min: 1 },
      { name: "disk", label: "Disk (MiB)", type: "number", min: 1, hint: "What is left empty, the platform decides." },
    ],
    yes: "Create",
    intent: (values) => ["create", values],
  });
}
