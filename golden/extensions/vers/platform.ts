// What the platform does to VMs, in both of its vintages.

import { setTimeout as wait } from "node:timers/promises";
import { ApiRefusal, call } from "./api.ts";
import { Refusal } from "./place.ts";

const BOOT = 180; // seconds
const SNAPSHOT = 120; // seconds
const LOOK = 300; // milliseconds between two looks at a state
const OLDER = [400, 404, 405, 422]; // how a platform says that it does not know a word

export interface Vm {
  vm_id: string;
  state: string;
  created_at?: string;
}

export interface Outcome {
  exit_code: number;
  stdout: string;
  stderr: string;
}

type Signal = AbortSignal | undefined;

function vmPath(vmId: string, rest = ""): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(vmId)) throw new Refusal(`'${vmId}' is no VM's id: vers_vms lists them.`);
  return `/vm/${vmId}${rest}`;
}

/** In the newer vintage's way and, where that is refused, in the older's. */
async function either<T>(newer: () => Promise<T>, older: () => Promise<T>): Promise<T> {
  try {
    return await newer();
  } catch (error) {
    if (!(error instanceof ApiRefusal) || !OLDER.includes(error.status)) throw error;
    return older().catch(() => {
      throw error;
    });
  }
}

export function list(signal: Signal): Promise<Vm[]> {
  return either(
    () => call<Vm[]>("GET", "/vm", { signal }),
    () => call<Vm[]>("GET", "/vms", { signal }),
  );
}

export async function create(config: Record<string, number | undefined>, waitBoot: boolean, signal: Signal): Promise<string> {
  const ask = { query: { wait_boot: waitBoot }, body: { vm_config: config }, seconds: BOOT, signal };
  return (await call<{ vm_id: string }>("POST", "/vm/new_root", ask)).vm_id;
}

export function remove(vmId: string, signal: Signal): Promise<void> {
  return call("DELETE", vmPath(vmId), { seconds: 60, signal });
}

export async function branch(vmId: string, signal: Signal): Promise<string> {
  const answer = await call<{ vm_id?: string; vms?: { vm_id: string }[] }>("POST", vmPath(vmId, "/branch"), { seconds: SNAPSHOT + BOOT, signal });
  return (answer.vm_id ?? answer.vms?.[0]?.vm_id) as string;
}

export async function commit(vmId: string, keepPaused: boolean, signal: Signal): Promise<string> {
  const ask = { query: { keep_paused: keepPaused || undefined }, body: {}, seconds: SNAPSHOT, signal };
  return (await call<{ commit_id: string }>("POST", vmPath(vmId, "/commit"), ask)).commit_id;
}

export async function restore(commitId: string, signal: Signal): Promise<string> {
  const ask = { body: { commit_id: commitId }, seconds: SNAPSHOT + BOOT, signal };
  const answer = await call<{ vm_id?: string; vms?: { vm_id: string }[] }>("POST", "/vm/from_commit", ask);
  return (answer.vm_id ?? answer.vms?.[0]?.vm_id) as string;
}

export function setState(vmId: string, state: "Paused" | "Running", signal: Signal): Promise<unknown> {
  const to = (word: string) => () => call("PATCH", vmPath(vmId, "/state"), { body: { state: word }, seconds: SNAPSHOT, signal });
  return state === "Running" ? to("Running")() : either(to("Sleeping"), to("Paused"));
}

/** A command on a VM, to its end; `seconds` later it is ended there, where the platform does that. */
export function exec(
  vmId: string,
  command: string[],
  { stdin, seconds = 60, cwd, signal }: { stdin?: string; seconds?: number; cwd?: string; signal?: AbortSignal } = {},
): Promise<Outcome> {
  const body = { command, stdin, timeout_secs: seconds, working_dir: cwd };
  return call("POST", vmPath(vmId, "/exec"), { body, seconds: seconds ? seconds + 30 : 24 * 3600, signal });
}

export async function readFile(vmId: string, path: string, signal: Signal): Promise<Buffer> {
  const answer = await call<{ content_b64: string }>("GET", vmPath(vmId, "/files"), { query: { path }, seconds: 120, signal });
  return Buffer.from(answer.content_b64, "base64");
}

export function writeFile(vmId: string, path: string, content: Buffer, mode: number, signal: Signal): Promise<void> {
  const body = { path, content_b64: content.toString("base64"), create_dirs: true, mode };
  return call("PUT", vmPath(vmId, "/files"), { body, seconds: 120, signal });
}

/** A key of a VM's own, where the platform has such: it opens that VM and what is made with it, and nothing else.
 * Undefined where it has not. */
export async function ownKey(vmId: string, maxVms: number, signal: Signal): Promise<Record<string, string> | undefined> {
  try {
    const ask = { body: { max_vms: maxVms }, signal };
    const answer = await call<{ api_key: string; base_url: string }>("POST", vmPath(vmId, "/api_key"), ask);
    return { VERS_API_KEY: answer.api_key, VERS_BASE_URL: answer.base_url };
  } catch (error) {
    if (error instanceof ApiRefusal && [404, 405].includes(error.status)) return undefined;
    throw error;
  }
}

/** Until a new VM runs and takes commands. */
export async function ready(vmId: string, signal: Signal): Promise<void> {
  const end = Date.now() + BOOT * 1000;
  for (;;) {
    let trouble: unknown;
    const { state } = await call<Vm>("GET", vmPath(vmId, "/status"), { signal });
    if (state === "dead") throw new Refusal(`VM ${vmId} died while it started. Try again, or with another commit.`);
    if (state === "running") {
      try {
        await exec(vmId, ["true"], { signal, seconds: 20 });
        return;
      } catch (error) {
        if (signal?.aborted) throw error;
        trouble = error; // it may be a moment from listening
      }
    }
    if (Date.now() > end) throw trouble ?? new Refusal(`VM ${vmId} did not run within ${BOOT} s (it is ${state}). Try again.`);
    await wait(LOOK, undefined, { signal });
  }
}
