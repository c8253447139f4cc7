// The swarm's registry on its root VM, and what it allows. The program `swarm-agent` keeps it there, under its lock.

import { ApiRefusal } from "./api.ts";
import { ask, type Identity, member, Refusal } from "./place.ts";
import * as platform from "./platform.ts";

export interface Entry {
  vmId: string;
  agentId: string;
  parentVmId: string;
  role: "agent" | "scratchpad";
  status: string;
  ticket?: string;
  budgetUsd?: number;
}

type Change =
  | { do: "list" }
  | { do: "reserve"; labels: (string | null)[]; like: Partial<Entry>; prefix: string; most: number }
  | { do: "fill"; ticket: string; vmId?: string; status?: string }
  | { do: "drop"; ticket?: string; vmId?: string }
  | { do: "prune"; alive: string[] };

/** What `swarm-agent WORDS` answers on a VM; this one or another. */
export async function tell(vmId: string, words: string[], input: unknown, seconds: number, signal?: AbortSignal): Promise<string> {
  if (vmId === member().vmId) return ask(words, input, signal);
  const outcome = await platform.exec(vmId, ["swarm-agent", ...words], { stdin: JSON.stringify(input), seconds, signal });
  if (outcome.exit_code === 0) return outcome.stdout;
  throw new Refusal(outcome.stderr.trim().slice(-2000) || `swarm-agent ${words[0]} failed on VM ${vmId} (exit code ${outcome.exit_code}).`);
}

async function change(what: Change, signal?: AbortSignal): Promise<Entry[]> {
  const { rootVmId } = member();
  try {
    return JSON.parse(await tell(rootVmId, ["registry"], what, 60, signal));
  } catch (error) {
    if (!(error instanceof ApiRefusal)) throw error;
    throw new Refusal(`Your swarm's registry, on VM ${rootVmId}, is out of reach, so nothing is changed: ${error.message} Or ask the user.`);
  }
}

export function entries(signal?: AbortSignal): Promise<Entry[]> {
  return change({ do: "list" }, signal);
}

/** Places for VMs that are to come: on record before they exist. */
export async function reserve(labels: (string | null)[], like: Partial<Entry>, signal?: AbortSignal): Promise<Entry[]> {
  const me = member();
  const prefix = `${me.agentId}${like.role === "agent" ? "." : ".vm"}`;
  const what: Change = { do: "reserve", labels, like: { parentVmId: me.vmId, ...like }, prefix, most: me.maxVms };
  try {
    return await change(what, signal);
  } catch (error) {
    if (!(error instanceof Refusal) || !error.message.startsWith("maxVms")) throw error;
    const alive = (await platform.list(signal)).map((vm) => vm.vm_id);
    if ((await change({ do: "prune", alive }, signal)).length === 0) throw error;
    return change(what, signal); // somebody had deleted VMs without a word
  }
}

export async function fill(ticket: string, what: { vmId?: string; status?: string }, signal?: AbortSignal): Promise<void> {
  await change({ do: "fill", ticket, ...what }, signal);
}

export async function drop(what: { ticket?: string; vmId?: string }): Promise<void> {
  await change({ do: "drop", ...what });
}

/** An agent by its label, or any VM by its id. */
export async function agent(label: string, signal?: AbortSignal): Promise<Entry> {
  const all = await entries(signal);
  const found = all.find((entry) => entry.vmId && entry.role === "agent" && [entry.agentId, entry.vmId].includes(label));
  if (found) return found;
  const known = all.filter((entry) => entry.role === "agent").map((entry) => entry.agentId);
  throw new Refusal(`No agent '${label}' in this swarm; ${known.length ? `there are ${known.join(", ")}` : "there is none but you"}.`);
}

/** May this agent reach into a VM, to run or change something there? Those of its own swarm, unless its identity
 * says `"scope": "account"`: a key opens every VM of the account, and a wrong id must not end up in a user's. */
export async function ours(vmId: string, signal?: AbortSignal): Promise<Entry | undefined> {
  const me = member();
  const found = (await entries(signal)).find((entry) => entry.vmId === vmId);
  if (!found && vmId !== me.vmId && me.scope !== "account") {
    throw new Refusal(`VM ${vmId} is not of your swarm, so it is left alone. vers_vms marks those that are; ask the user about others.`);
  }
  return found;
}

/** May it delete or pause one? Only what it has made itself, or what that has made: never itself or those above,
 * and not a sister's work. */
export async function below(vmId: string, doing: string, signal?: AbortSignal): Promise<Entry | undefined> {
  const me: Identity = member();
  if (vmId === me.vmId) throw new Refusal(`VM ${vmId} is the one you run on: ${doing} it would end you. Finish instead.`);
  const all = await entries(signal);
  const found = all.find((entry) => entry.vmId === vmId);
  const seen = new Set<string>();
  for (let at = found; at && !seen.has(at.vmId); at = all.find((entry) => entry.vmId === at?.parentVmId)) {
    if (at.parentVmId === me.vmId) return found;
    seen.add(at.vmId);
  }
  if (me.scope === "account") return found;
  const whose = found ? `belongs to '${found.agentId}', which you did not make` : "is not of your swarm";
  throw new Refusal(`VM ${vmId} ${whose}, so ${doing} it is refused. Ask whoever made it, or the user.`);
}

/** A copy of a machine with an agent on it would be a second one under the same name, in the middle of its work. */
export function noTwin(entry: Entry | undefined, vmId: string, doing: string): void {
  if (vmId === member().vmId) {
    throw new Refusal(`VM ${vmId} is the one you run on: ${doing} it would make a second you in the middle of this call. Copy what you need to another VM with vers_vm_copy, and take that one.`);
  }
  if (entry?.role === "agent" && doing === "branching") {
    throw new Refusal(`'${entry.agentId}' lives on VM ${vmId}: a branch would be a second one of that name. Commit it while it is idle, and spawn from that commit with vers_swarm_spawn.`);
  }
}
