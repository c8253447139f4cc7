// Tools for VMs: list, create, branch, commit, restore, delete, pause, copy files, run commands.

import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { defineTool } from "@earendil-works/pi-coding-agent";
import { Type } from "typebox";
import { identity, Refusal } from "./place.ts";
import * as platform from "./platform.ts";
import * as registry from "./registry.ts";
import { quoted, result } from "./text.ts";

const LARGEST = 16 << 20; // bytes of a file that is copied in one answer of the API
const PATIENCE = 120; // seconds of a command

const vmId = Type.String({ description: "Id of the VM, as vers_vms lists it" });

/** A new VM, whose place in the swarm is kept before it exists and given up when it does not come. */
async function made(how: string, label: string | undefined, make: () => Promise<string>, signal?: AbortSignal) {
  const [place] = await registry.reserve([label ?? null], { role: "scratchpad" }, signal);
  let id = "";
  try {
    id = await make();
    await registry.fill(place.ticket as string, { vmId: id, status: "running" }, signal);
  } catch (error) {
    if (id) await platform.remove(id, undefined);
    await registry.drop({ ticket: place.ticket });
    throw error;
  }
  return result(`VM ${id} (${place.agentId}) was ${how}. Delete it with vers_vm_delete when you are done.`, { vmId: id, label: place.agentId });
}

const label = Type.Optional(Type.String({ description: "Its name in the swarm; default: the next free one", pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$" }));

export const vms = defineTool({
  name: "vers_vms",
  label: "List VMs",
  description: "List the VMs of the account: id, state, age, and for those of your swarm their label, role and parent.",
  parameters: Type.Object({}),
  async execute(_id, _parameters, signal) {
    const me = identity();
    const [all, known] = await Promise.all([platform.list(signal), me ? registry.entries(signal) : []]);
    const lines = all.map((vm) => {
      const entry = known.find((one) => one.vmId === vm.vm_id);
      const words = [vm.vm_id, vm.state, vm.created_at ?? "", entry ? `${entry.role} '${entry.agentId}' of ${entry.parentVmId}` : ""];
      if (vm.vm_id === me?.vmId) words.push("← you run here");
      else if (!entry) words.push("not of your swarm");
      return words.filter(Boolean).join("  ");
    });
    const limit = me ? `Your swarm has ${known.length} of at most ${me.maxVms} VMs.` : "";
    return result(`${quoted("VMs", lines.join("\n"), "ask for one by its id")}\n${limit}`.trim(), { vms: all, swarm: known });
  },
});

export const create = defineTool({
  name: "vers_vm_create",
  label: "Create VM",
  description: "Create a new root VM from the platform's own image. It belongs to your swarm and counts towards its limit.",
  parameters: Type.Object({
    vcpu_count: Type.Optional(Type.Integer({ minimum: 1, description: "Processors" })),
    mem_size_mib: Type.Optional(Type.Integer({ minimum: 1, description: "Memory in MiB" })),
    fs_size_mib: Type.Optional(Type.Integer({ minimum: 1, description: "Disk in MiB" })),
    wait_boot: Type.Optional(Type.Boolean({ description: "Wait until it has booted (default true)" })),
    label,
  }),
  execute: (_id, { wait_boot = true, label, ...config }, signal) =>
    made("created", label, () => platform.create(config, wait_boot, signal), signal),
});

export const branch = defineTool({
  name: "vers_vm_branch",
  label: "Branch VM",
  description: "Clone a VM of your swarm, memory and processes included: a new VM that goes on from the same state. Not for VMs that agents live on.",
  parameters: Type.Object({ vmId, label }),
  async execute(_id, { vmId, label }, signal) {
    registry.noTwin(await registry.ours(vmId, signal), vmId, "branching");
    return made(`branched from ${vmId}`, label, () => platform.branch(vmId, signal), signal);
  },
});

export const commit = defineTool({
  name: "vers_vm_commit",
  label: "Commit VM",
  description: "Keep a VM of your swarm as it is now, memory included. Returns the commit's id, for vers_vm_restore and vers_swarm_spawn.",
  parameters: Type.Object({ vmId, keep_paused: Type.Optional(Type.Boolean({ description: "Leave the VM paused (default false)" })) }),
  async execute(_id, { vmId, keep_paused = false }, signal) {
    registry.noTwin(await registry.ours(vmId, signal), vmId, "committing");
    if (keep_paused) await registry.below(vmId, "pausing", signal);
    const commitId = await platform.commit(vmId, keep_paused, signal);
    return result(`VM ${vmId} was committed: ${commitId}`, { commitId, vmId });
  },
});

export const restore = defineTool({
  name: "vers_vm_restore",
  label: "Restore VM",
  description: "Make a new VM that goes on from a commit. It belongs to your swarm and counts towards its limit.",
  parameters: Type.Object({ commitId: Type.String({ description: "Id of the commit" }), label }),
  execute: (_id, { commitId, label }, signal) => made(`restored from ${commitId}`, label, () => platform.restore(commitId, signal), signal),
});

export const remove = defineTool({
  name: "vers_vm_delete",
  label: "Delete VM",
  description: "Destroy a VM that you made, and what is on its disk. An agent on it ends.",
  parameters: Type.Object({ vmId }),
  async execute(_id, { vmId }, signal) {
    await registry.below(vmId, "deleting", signal);
    await platform.remove(vmId, signal);
    await registry.drop({ vmId });
    return result(`VM ${vmId} was deleted.`, { vmId });
  },
});

export const state = defineTool({
  name: "vers_vm_state",
  label: "Pause or resume VM",
  description: "Pause a VM that you made, or have it go on; memory and processes stay as they are.",
  parameters: Type.Object({ vmId, state: Type.Union([Type.Literal("Paused"), Type.Literal("Running")]) }),
  async execute(_id, { vmId, state }, signal) {
    await registry.below(vmId, state === "Paused" ? "pausing" : "resuming", signal);
    await platform.setState(vmId, state, signal);
    return result(`VM ${vmId} is ${state === "Paused" ? "paused" : "running"}.`, { vmId, state });
  },
});

export const exec = defineTool({
  name: "vers_vm_exec",
  label: "Run on VM",
  description: `Run a bash command on another VM of your swarm. At most ${PATIENCE} s unless timeout says otherwise (seconds).`,
  parameters: Type.Object({
    vmId,
    command: Type.String({ description: "What bash runs there" }),
    cwd: Type.Optional(Type.String({ description: "Folder there" })),
    timeout: Type.Optional(Type.Integer({ minimum: 1, maximum: 3600, description: `Seconds (default ${PATIENCE})` })),
  }),
  async execute(_id, { vmId, command, cwd, timeout = PATIENCE }, signal) {
    await registry.ours(vmId, signal);
    const outcome = await platform.exec(vmId, ["bash", "-c", command], { cwd, seconds: timeout, signal });
    const how = "write it to a file there, and read that in parts";
    const parts = [quoted(`stdout of ${vmId}`, outcome.stdout, how)];
    if (outcome.stderr) parts.push(quoted(`stderr of ${vmId}`, outcome.stderr, how));
    const text = `${parts.join("\n")}\nexit code ${outcome.exit_code}`;
    if (outcome.exit_code !== 0) throw new Refusal(text);
    return result(text, { vmId, exitCode: outcome.exit_code });
  },
});

/** A file's bytes and mode, here or on a VM. */
async function taken(from: string | undefined, path: string, signal?: AbortSignal): Promise<{ content: Buffer; mode: number }> {
  if (!from) {
    const { size, mode } = statSync(path);
    fits(path, size);
    return { content: readFileSync(path), mode: mode & 0o7777 };
  }
  const outcome = await platform.exec(from, ["stat", "-L", "-c", "%a %s %F", "--", path], { signal });
  if (outcome.exit_code !== 0) throw new Refusal(`${path} cannot be copied from VM ${from}: ${outcome.stderr.trim()}`);
  const [mode, size, ...kind] = outcome.stdout.trim().split(" ");
  if (!kind.join(" ").startsWith("regular")) throw new Refusal(`${path} on VM ${from} is a ${kind.join(" ")}: pack it with tar there, and copy that.`);
  fits(path, Number(size));
  return { content: await platform.readFile(from, path, signal), mode: Number.parseInt(mode, 8) };
}

function fits(path: string, size: number): void {
  if (size > LARGEST) throw new Refusal(`${path} has ${size} bytes, and ${LARGEST} is the most for one copy: pack it, or cut it with split.`);
}

const side = (what: string) => ({
  vm: Type.Optional(Type.String({ description: `Id of the VM ${what}; left out: the one you run on` })),
  path: Type.String({ description: `Absolute path of the file ${what}` }),
});
const [from, to] = [side("that it comes from"), side("that it goes to")];

export const copy = defineTool({
  name: "vers_vm_copy",
  label: "Copy file",
  description: "Copy one file from a VM of your swarm to another, or from or to the one you run on; its mode is kept, parent folders are made.",
  parameters: Type.Object({ fromVm: from.vm, fromPath: from.path, toVm: to.vm, toPath: to.path }),
  async execute(_id, { fromVm, fromPath, toVm, toPath }, signal, _onUpdate, ctx) {
    const me = identity()?.vmId;
    const elsewhere = (vm: string | undefined) => (vm && vm !== me ? vm : undefined);
    const [source, target] = [elsewhere(fromVm), elsewhere(toVm)];
    for (const vm of [source, target]) if (vm) await registry.ours(vm, signal);
    const { content, mode } = await taken(source, source ? fromPath : resolve(ctx.cwd, fromPath), signal);
    if (target) await platform.writeFile(target, toPath, content, mode, signal);
    else {
      const path = resolve(ctx.cwd, toPath);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content, { mode });
      chmodSync(path, mode); // of a file that was there already
    }
    const place = (vm: string | undefined, path: string) => (vm ? `${vm}:${path}` : path);
    return result(`${content.length} bytes: ${place(source, fromPath)} → ${place(target, toPath)}`, { bytes: content.length });
  },
});
