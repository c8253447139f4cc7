// Requests to the Vers API: sent with a deadline, again only where that is safe, refused in a sentence.

import { randomUUID } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import { Refusal, secret } from "./place.ts";
import { clipped } from "./text.ts";

const DEFAULT_BASE = "https://api.vers.sh/api/v1";
const TRIES = 3;
const FIRST_WAIT = 500; // milliseconds; doubles with each try
const LONGEST_WAIT = 60; // seconds, whatever Retry-After asks for
const DEADLINE = 30; // seconds
const SAID = 300; // characters of what the platform says
const NEVER_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT", "EHOSTUNREACH", "ENETUNREACH"]);

export interface Ask {
  query?: Record<string, string | number | boolean | undefined>;
  body?: unknown;
  /** Seconds that one try may take. */
  seconds?: number;
  signal?: AbortSignal;
}

/** The platform said no. */
export class ApiRefusal extends Refusal {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

interface Place {
  base: string;
  key: string;
}

function place(): Place {
  const key = secret("VERS_API_KEY");
  if (!key) throw new Refusal("There is no VERS_API_KEY on this machine, so VMs are out of reach. Ask whoever spawned you for one.");
  const base = (secret("VERS_BASE_URL") || DEFAULT_BASE).replace(/\/+$/, "").replace(/\/api\/v1$/, "");
  return { base: `${base}/api/v1`, key };
}

/** What the platform answers, as JSON; undefined for an empty answer.
 *
 * GET, PUT and DELETE come to the same however often they run. A POST or PATCH is repeated only when the first
 * surely did not run, for an older platform may ignore the idempotency key. */
export async function call<T>(method: string, path: string, ask: Ask = {}): Promise<T> {
  const { base, key } = place();
  const url = new URL(base + path);
  for (const [name, value] of Object.entries(ask.query ?? {})) if (value !== undefined) url.searchParams.set(name, String(value));
  const headers: Record<string, string> = { Authorization: `Bearer ${key}`, Accept: "application/json" };
  if (method !== "GET") headers["X-Idempotency-Key"] = randomUUID();
  if (ask.body !== undefined) headers["Content-Type"] = "application/json";
  const harmless = method !== "POST" && method !== "PATCH";
  const what = `${method} ${path}`;
  let perhapsDone = false;
  for (let attempt = 1; ; attempt++) {
    const last = attempt === TRIES;
    let pause = FIRST_WAIT * 2 ** (attempt - 1) * (1 + Math.random() / 4);
    const deadline = AbortSignal.timeout((ask.seconds ?? DEADLINE) * 1000);
    const signal = ask.signal ? AbortSignal.any([ask.signal, deadline]) : deadline;
    try {
      const body = ask.body === undefined ? undefined : JSON.stringify(ask.body);
      const answer = await fetch(url, { method, headers, body, signal, redirect: "manual" }); // the key is for this platform alone
      const text = await answer.text();
      if (answer.ok) return read<T>(text, what);
      if (method === "DELETE" && answer.status === 404 && perhapsDone) return undefined as T;
      const asked = retryAfter(answer.headers.get("retry-after"));
      const turnedAway = answer.status === 429 || (answer.status === 503 && asked !== undefined);
      const unsettled = [408, 409].includes(answer.status) || (answer.status >= 500 && answer.status !== 501);
      if (last || !(turnedAway || (harmless && unsettled))) throw refused(what, answer.status, text, asked);
      perhapsDone ||= !turnedAway;
      if (asked !== undefined) pause = asked * 1000;
    } catch (error) {
      if (error instanceof Refusal) throw error;
      if (ask.signal?.aborted) throw new Refusal(`${what} was stopped; the platform may have done it all the same: vers_vms shows what there is.`);
      const reason = deadline.aborted ? `no answer within ${ask.seconds ?? DEADLINE} s` : why(error);
      const sent = !NEVER_SENT.has(reason);
      if (last || (sent && !harmless)) throw lost(what, base, reason, sent && !harmless);
      perhapsDone ||= sent;
    }
    await wait(pause, undefined, { signal: ask.signal });
  }
}

function read<T>(text: string, what: string): T {
  if (!text.trim()) return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new Refusal(`The platform answered ${what} with no JSON: ${clipped(text, SAID)}. VERS_BASE_URL may name something else.`);
  }
}

function why(error: unknown): string {
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  return cause?.code ?? cause?.message ?? (error as Error).message;
}

function lost(what: string, base: string, reason: string, perhaps: boolean): Refusal {
  const next = perhaps ? "It may have been done: look with vers_vms before you try again." : "Try again in a minute.";
  return new Refusal(`${what} did not reach the platform at ${new URL(base).origin} (${reason}). ${next}`);
}

function refused(what: string, status: number, text: string, asked: number | undefined): ApiRefusal {
  let said = text;
  try {
    const parsed = JSON.parse(text);
    said = parsed.error ?? parsed.message ?? parsed.detail ?? text;
  } catch {
    // said in plain text
  }
  const words = clipped(typeof said === "string" ? said : JSON.stringify(said), SAID).replace(/\.$/, "");
  return new ApiRefusal(`The platform refused ${what} (${status}: ${words || "without a word"}). ${next(status, asked)}`, status);
}

function next(status: number, asked: number | undefined): string {
  if (status === 401 || status === 403) return "The VERS_API_KEY is not good for this: ask whoever spawned you.";
  if (status === 404) return "vers_vms shows what there is.";
  if (status === 409) return "Look at its state with vers_vms, and try again when that has settled.";
  if (status === 429) return `Too much was asked at once: try again in ${asked ?? LONGEST_WAIT} s.`;
  if (status === 507) return "There is no room: delete VMs you no longer need.";
  return status >= 500 ? "Try again in a minute." : "Change what you ask for.";
}

/** Seconds that the header asks for, 0 to 60. */
export function retryAfter(text: string | null): number | undefined {
  if (!text?.trim()) return undefined;
  const seconds = /^\d+$/.test(text.trim()) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 0), LONGEST_WAIT);
}
