// Tools for agents: spawn some, give one a task, see what they are at, read what they said.

import { defineTool, type ExtensionContext } from "@earendil-works/pi-coding-agent";
import { Type } from "typebox";
import { account, give } from "./budget.ts";
import { type Identity, member, Refusal, secrets, THERE } from "./place.ts";
import * as platform from "./platform.ts";
import * as registry from "./registry.ts";
import { own } from "./status.ts";
import { clipped, each, quoted, result } from "./text.ts";

const PRIVATE = 0o600;
const STARTING = 150; // seconds until a new pi answers
const ANSWER = 60; // seconds for any other answer
const MOST = 16; // agents of one call
const LABEL = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";

const label = Type.String({ description: "Label of the agent, as vers_swarm_status lists it" });

interface Spawned {
  label: string;
  vmId?: string;
  error?: string;
}

/** US dollars that each of `count` children may have: what is left of this agent's, in equal shares with itself. */
function share(count: number, ctx: ExtensionContext): number | undefined {
  const now = account(ctx);
  if (!now) return undefined;
  const left = now.limit - now.cost - now.given;
  if (left > 0) return left / (count + 1);
  throw new Refusal(
    `budgetUsd: you may cost $${now.limit}; you have cost $${now.cost.toFixed(2)}, and $${now.given.toFixed(2)} are your agents'. Do it yourself, or ask the user for more.`,
  );
}

/** Make a restored machine an agent's: who it is, its secrets, its pi. */
async function settle(vmId: string, child: Identity, model: string | undefined, signal?: AbortSignal): Promise<void> {
  await platform.ready(vmId, signal);
  const folders = ["install", "-d", "-m", "700", THERE, `${THERE}/secrets`, `${THERE}/status`];
  const outcome = await platform.exec(vmId, folders, { signal });
  if (outcome.exit_code !== 0) throw new Refusal(`${THERE} could not be made: ${outcome.stderr.trim()}`);
  const write = (name: string, text: string) => platform.writeFile(vmId, `${THERE}/${name}`, Buffer.from(text), PRIVATE, signal);
  // With a key of its own it sees no machine but itself and what it makes: its swarm begins with itself then, and
  // the platform keeps it within the limits of those above.
  const key = await platform.ownKey(vmId, child.maxVms, signal);
  const told = key ? { ...child, rootVmId: vmId } : child;
  await write("identity.json", `${JSON.stringify(told, null, 2)}\n`);
  for (const [name, value] of Object.entries({ ...secrets(), ...key })) await write(`secrets/${name}`, value);
  await registry.tell(vmId, model ? ["start", "--model", model] : ["start"], {}, STARTING, signal);
}

async function born(place: registry.Entry, me: Identity, commitId: string, model: string | undefined, signal?: AbortSignal): Promise<Spawned> {
  const label = place.agentId;
  const ticket = place.ticket as string;
  let vmId = "";
  try {
    vmId = await platform.restore(commitId, signal);
    await registry.fill(ticket, { vmId, status: "starting" }, signal);
    const { rootVmId, maxDepth, maxVms, scope } = me;
    const limits = { maxDepth, maxVms, scope, budgetUsd: place.budgetUsd };
    const child: Identity = { vmId, agentId: label, rootVmId, parentVmId: me.vmId, depth: me.depth + 1, ...limits, createdAt: new Date().toISOString() };
    await settle(vmId, child, model, signal);
    await registry.fill(ticket, { status: "ready" }, signal);
    return { label, vmId };
  } catch (error) {
    return { label, error: `${(error as Error).message} ${await undone(vmId, ticket)}` };
  }
}

/** Delete what did not become an agent; what cannot be deleted stays in the registry, for all to see. */
async function undone(vmId: string, ticket: string): Promise<string> {
  try {
    if (vmId) await platform.remove(vmId, undefined); // the caller's signal may be why
    await registry.drop({ ticket });
    return vmId ? "Its VM was deleted." : "No VM was made.";
  } catch (error) {
    await registry.fill(ticket, { status: "error" }).catch(() => undefined); // the sentence below tells all
    return `Its VM ${vmId} could not be cleaned up (${(error as Error).message}): delete it with vers_vm_delete.`;
  }
}

export const spawn = defineTool({
  name: "vers_swarm_spawn",
  label: "Spawn agents",
  description: "Make new agents, each on a VM of its own restored from a golden commit, with your keys. They are idle until you give each a task with vers_swarm_task.",
  parameters: Type.Object({
    commitId: Type.String({ description: "Commit of a golden image, or of a VM that an idle agent lives on" }),
    count: Type.Integer({ minimum: 1, maximum: MOST, description: "How many" }),
    labels: Type.Optional(Type.Array(Type.String({ pattern: LABEL }), { description: "Their names, one each, that no other has; default: yours with a number" })),
    model: Type.Optional(Type.String({ description: "PROVIDER/ID of their model; default: what the image has" })),
  }),
  async execute(_id, { commitId, count, labels, model }, signal, _onUpdate, ctx) {
    const me = member();
    if (labels && labels.length !== count) throw new Refusal(`There are ${labels.length} labels for ${count} agents: give one each, or none.`);
    if (me.depth + 1 > me.maxDepth) {
      throw new Refusal(`maxDepth: you are at depth ${me.depth}, and ${me.maxDepth} is the deepest. Do it yourself, or ask the user for a larger limit.`);
    }
    const budgetUsd = share(count, ctx);
    const book = (children: number) => budgetUsd !== undefined && children !== 0 && give(budgetUsd * children);
    book(count); // before anything is awaited: the calls of one answer run side by side
    let fine: Spawned[] = [];
    let found: Spawned[];
    try {
      const places = await registry.reserve(labels ?? Array(count).fill(null), { role: "agent", budgetUsd }, signal);
      found = await each(places, (place) => born(place, me, commitId, model, signal));
      fine = found.filter((one) => one.vmId);
    } finally {
      book(fine.length - count);
    }
    own.children(fine.map((one) => one.label));
    const lines = found.map((one) => (one.vmId ? `✓ ${one.label} on VM ${one.vmId}` : `✗ ${one.label}: ${one.error}`));
    if (fine.length === 0) throw new Refusal(lines.join("\n"));
    return result(lines.join("\n"), { agents: found });
  },
});

export const task = defineTool({
  name: "vers_swarm_task",
  label: "Give a task",
  description: "Give an agent of your swarm a task. It works on its own; see vers_swarm_status for how far it is.",
  parameters: Type.Object({
    label,
    task: Type.String({ minLength: 1, description: "The task, with all that the agent must know: it does not see your conversation" }),
    whileBusy: Type.Optional(
      Type.Union([Type.Literal("steer"), Type.Literal("followUp")], {
        description: "For an agent that works: steer is read before its next step, followUp after its task. Without it a busy agent is left alone.",
      }),
    ),
  }),
  async execute(_id, { label, task, whileBusy }, signal) {
    const entry = await registry.agent(label, signal);
    if (entry.vmId === member().vmId) throw new Refusal("That is you: just do it.");
    const command = { type: "prompt", message: task, streamingBehavior: whileBusy };
    const answer = JSON.parse(await registry.tell(entry.vmId, ["send"], command, ANSWER, signal));
    if (!answer.success) {
      throw new Refusal(`'${entry.agentId}' did not take the task: ${clipped(String(answer.error), 500)} If it is busy, wait, or say whileBusy.`);
    }
    return result(`'${entry.agentId}' has the task.`, { label: entry.agentId, vmId: entry.vmId });
  },
});

export const status = defineTool({
  name: "vers_swarm_status",
  label: "Swarm status",
  description: "What the agents of your swarm are at: idle, working, done, error, aborted or dead; with task, last words and cost in US dollars.",
  parameters: Type.Object({ label: Type.Optional(label) }),
  async execute(_id, { label }, signal) {
    const me = member().vmId;
    const one = label ? [await registry.agent(label, signal)] : await registry.entries(signal);
    const agents = one.filter((entry) => entry.role === "agent" && entry.vmId !== me);
    const found = await each(agents, async (entry) => {
      if (!entry.vmId) return { label: entry.agentId, state: entry.status };
      try {
        return { label: entry.agentId, vmId: entry.vmId, ...JSON.parse(await registry.tell(entry.vmId, ["status"], {}, ANSWER, signal)) };
      } catch (error) {
        if (signal?.aborted) throw error;
        return { label: entry.agentId, vmId: entry.vmId, state: "unreachable", why: (error as Error).message };
      }
    });
    const lines = found.map((one) => {
      const words = [`${one.label}: ${one.state}`, one.vmId, one.cost === undefined ? "" : `$${Number(one.cost).toFixed(4)}`, one.why && clipped(one.why, 300)];
      if (one.task) words.push(`task: ${clipped(one.task, 200)}`);
      if (one.text) words.push(`said last: ${clipped(one.text, 300)}`);
      return words.filter(Boolean).join("  ");
    });
    return result(quoted("agents", lines.join("\n"), "ask for one by its label"), { agents: found });
  },
});

export const read = defineTool({
  name: "vers_swarm_read",
  label: "Read an agent",
  description: "Read what an agent of your swarm has said, or the last characters of it.",
  parameters: Type.Object({ label, tail: Type.Optional(Type.Integer({ minimum: 1, description: "How many of the last characters" })) }),
  async execute(_id, { label, tail }, signal) {
    const entry = await registry.agent(label, signal);
    const text = await registry.tell(entry.vmId, tail ? ["read", "--tail", String(tail)] : ["read"], {}, ANSWER, signal);
    return result(quoted(`words of '${entry.agentId}'`, text.trimEnd(), "have it write its result to a file, and fetch that with vers_vm_copy"), { label: entry.agentId, vmId: entry.vmId });
  },
});
