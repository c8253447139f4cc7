// What the pis of this machine have cost, by their sessions' files: also a `pi -p` that a tool has run, once it has
// written its session. What was granted beyond the budget and given to agents of its own is in sessions, too.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type ExtensionContext, getAgentDir } from "@earendil-works/pi-coding-agent";
import { home, save } from "./place.ts";

export const BUDGET = "pi-v-budget"; // kind of our entries
const BEFORE = "before.json"; // in the swarm's folder

/** All in US dollars. */
export interface Sums {
  cost: number;
  granted: number;
  given: number;
}

interface Entry {
  type?: string;
  id?: string;
  timestamp?: string;
  customType?: string;
  data?: Partial<Sums>;
  usage?: Spent;
  message?: { usage?: Spent };
}

interface Spent {
  cost?: { total?: number };
}

/** By entry: a session that was forked off another begins with a copy of its entries. */
type Booked = Map<string, Sums>;

function booked(entries: Entry[]): Booked {
  const found: Booked = new Map();
  for (const entry of entries) {
    const cost = (entry.message?.usage ?? entry.usage)?.cost?.total ?? 0;
    const ours = entry.type === "custom" && entry.customType === BUDGET;
    const { granted = 0, given = 0 } = (ours && entry.data) || {};
    if (cost || granted || given) found.set(`${entry.id} ${entry.timestamp}`, { cost, granted, given });
  }
  return found;
}

const known = new Map<string, { version: string; booked: Booked }>();

function ofFile(path: string): Booked {
  const { size, mtimeMs } = statSync(path);
  const version = `${size} ${mtimeMs}`;
  const before = known.get(path);
  if (before?.version === version) return before.booked;
  const entries: Entry[] = [];
  for (const line of readFileSync(path, "utf8").split("\n")) {
    if (!line.includes('"cost"') && !line.includes(BUDGET)) continue; // most are long, and none of ours
    try {
      entries.push(JSON.parse(line) ?? {});
    } catch {
      // it is being written
    }
  }
  const now = { version, booked: booked(entries) };
  known.set(path, now);
  return now.booked;
}

function files(ctx: ExtensionContext): Set<string> {
  const found = new Set<string>();
  for (const folder of [join(getAgentDir(), "sessions"), ctx.sessionManager.getSessionDir()]) {
    try {
      const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
      for (const name of names) if (name.endsWith(".jsonl")) found.add(join(folder, name));
    } catch {
      // no session was kept yet
    }
  }
  return found;
}

function total(ctx: ExtensionContext): Sums {
  const all: Booked = booked(ctx.sessionManager.getEntries() as Entry[]); // of its file, some may be still to write
  const own = ctx.sessionManager.getSessionFile();
  for (const path of files(ctx)) {
    if (path === own) continue;
    try {
      for (const [name, sums] of ofFile(path)) all.set(name, sums);
    } catch {
      // deleted just now
    }
  }
  const found: Sums = { cost: 0, granted: 0, given: 0 };
  for (const { cost, granted, given } of all.values()) {
    found.cost += cost;
    found.granted += granted;
    found.given += given;
  }
  return found;
}

/** All since this machine became that VM. Whoever it was copied from has left sessions on it, which are not its own:
 * what they come to is written down when this is asked for the first time, so that is to be before its first step. */
export function since(vmId: string, ctx: ExtensionContext): Sums {
  const now = total(ctx);
  let before: Sums | undefined;
  try {
    const kept = JSON.parse(readFileSync(join(home(), BEFORE), "utf8"));
    if (kept.vmId === vmId) before = kept;
  } catch {
    // this is the first time
  }
  if (!before) {
    before = now;
    save(BEFORE, { vmId, ...now });
  }
  return { cost: now.cost - before.cost, granted: now.granted - before.granted, given: now.given - before.given };
}
