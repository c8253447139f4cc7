// Where this agent lives: its folder, who it is, and the secrets it was given. All of it is read at each call,
// for a pi that was started before its machine was committed gets both only afterwards.

import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The swarm's folder on every agent's machine; here it may be another one (`SWARM_HOME`). */
export const THERE = "/root/.swarm";

const PATIENCE = 60_000; // milliseconds for the small program on this machine
const MOST = 64 << 20; // bytes of its answer
const DEFAULTS = { maxDepth: 50, maxVms: 20 };
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** What `identity.json` says of an agent. */
export interface Identity {
  vmId: string;
  agentId: string;
  rootVmId: string;
  parentVmId: string;
  depth: number;
  maxDepth: number;
  maxVms: number;
  createdAt: string;
  /** US dollars that this agent and those below it may cost together; absent: no limit. */
  budgetUsd?: number;
  /** Whether somebody answers its questions: a notebook that spawned it. */
  asks?: boolean;
  /** Which VMs it may change: those of its swarm, which is the default, or all of the account. */
  scope?: "swarm" | "account";
}

/** Something the agent can be told in a sentence, and what to do about it. */
export class Refusal extends Error {}

export function home(): string {
  return process.env.SWARM_HOME || THERE;
}

/** Who this is, or undefined before anybody has said so. */
export function identity(): Identity | undefined {
  let found: Partial<Identity>;
  try {
    found = JSON.parse(readFileSync(join(home(), "identity.json"), "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new Refusal(`${join(home(), "identity.json")} cannot be read (${(error as Error).message}). Ask whoever spawned you.`);
  }
  if (!found.vmId || !found.agentId) return undefined; // the image's template
  const whole = { parentVmId: "", depth: 0, createdAt: "", ...DEFAULTS, ...found } as Identity;
  return { ...whole, rootVmId: whole.rootVmId || whole.vmId };
}

/** Who this is, for what only a member of a swarm may do. */
export function member(): Identity {
  const me = identity();
  if (!me) throw new Refusal("This machine belongs to no swarm yet, so its limits are unknown. Whoever spawns it says who it is.");
  return me;
}

/** A secret's value, from its file or the environment; empty where there is none. */
export function secret(name: string): string {
  try {
    return readFileSync(join(home(), "secrets", name), "utf8").trim();
  } catch {
    return (process.env[name] ?? "").trim(); // no such file
  }
}

/** All secrets that children get too, by name. */
export function secrets(): Record<string, string> {
  let names: string[] = [];
  try {
    names = readdirSync(join(home(), "secrets")).filter((name) => VARIABLE.test(name));
  } catch {
    // no such folder: they may be in the environment
  }
  const wanted = new Set([...names, "VERS_API_KEY", "VERS_BASE_URL", "ANTHROPIC_API_KEY"]);
  return Object.fromEntries([...wanted].map((name) => [name, secret(name)]).filter(([, value]) => value));
}

/** Replace a small file of the swarm's folder at once, so that nobody reads half of it. */
export function save(name: string, value: unknown): void {
  const path = join(home(), name);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** What `swarm-agent WORDS` on this machine answers to `input`. */
export function ask(words: string[], input: unknown, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { signal, timeout: PATIENCE, maxBuffer: MOST };
    const child = execFile("swarm-agent", words, options, (error, stdout, stderr) => {
      if (!error) resolve(stdout);
      else reject(new Refusal(stderr.trim() || `swarm-agent ${words[0]} did not work here: ${error.message}`));
    });
    child.stdin?.on("error", () => undefined); // it ended first, and its own error says why
    child.stdin?.end(JSON.stringify(input));
  });
}
