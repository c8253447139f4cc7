// This agent's status file, which others read: what it is at, as pi's events tell.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import { home, identity, save } from "./place.ts";
import { clipped } from "./text.ts";

const TASK = 2000; // characters that are kept
const SUMMARY = 1000;
const ARTIFACTS = 100; // paths

interface Status {
  agentId: string;
  vmId: string;
  status: "working" | "done" | "error" | "aborted";
  task: string;
  summary: string;
  /** Why it was stopped, where that was not somebody's wish. */
  why?: string;
  artifacts: string[];
  children: string[];
  updatedAt: string;
}

interface Said {
  role?: string;
  stopReason?: string;
  errorMessage?: string;
  content?: unknown;
}

/** What the file says now; nothing before this machine is somebody's. */
function before(): Status | undefined {
  const me = identity();
  if (!me) return undefined;
  const fresh = { status: "working" as const, task: "", summary: "", artifacts: [], children: [] };
  const name = { agentId: me.agentId, vmId: me.vmId, updatedAt: "" };
  try {
    return { ...fresh, ...JSON.parse(readFileSync(join(home(), "status", `${me.agentId}.json`), "utf8")), ...name };
  } catch {
    return { ...fresh, ...name }; // there is none, or it was cut off
  }
}

function change(how: (status: Status) => Partial<Status>): void {
  const now = before();
  if (now) save(join("status", `${now.agentId}.json`), { ...now, ...how(now), updatedAt: new Date().toISOString() });
}

function words(message: Said | undefined): string {
  if (!Array.isArray(message?.content)) return "";
  return message.content.map((part: { type: string; text?: string }) => (part.type === "text" ? part.text : "")).join("\n");
}

/** How a run ended. One that is stopped within a tool ends with an error of pi's own making: `stopped` tells it. */
function ended(last: Said | undefined, stopped: boolean): Partial<Status> {
  const aborted = stopped || last?.stopReason === "aborted";
  const failed = !aborted && last?.stopReason === "error";
  const summary = clipped((failed && last?.errorMessage) || words(last), SUMMARY);
  return { status: failed ? "error" : aborted ? "aborted" : "done", summary };
}

/** What only the tools know. */
export const own = {
  children(labels: string[]): void {
    change((status) => ({ children: [...new Set([...status.children, ...labels])] }));
  },
  stopped(why: string): void {
    change(() => ({ why }));
  },
};

/** Keep the file true. A run is over when pi has settled: before that it may try again. */
export function follow(pi: ExtensionAPI): void {
  let last: Said | undefined;
  let signal: AbortSignal | undefined;
  pi.on("before_agent_start", (event) => {
    change(() => ({ status: "working", task: event.prompt.slice(0, TASK), summary: "", artifacts: [] }));
  });
  pi.on("agent_start", (_event, ctx) => {
    signal = ctx.signal;
    change(() => ({ status: "working", why: undefined }));
  });
  pi.on("message_end", (event, ctx) => {
    const { message } = event;
    // Stopped within a tool, it would be an error for whoever reads its events.
    if (message.role !== "assistant" || message.stopReason !== "error" || !ctx.signal?.aborted) return;
    return { message: { ...message, stopReason: "aborted" as const } };
  });
  pi.on("agent_end", (event) => {
    last = (event.messages as Said[]).filter((message) => message.role === "assistant").at(-1) ?? last;
  });
  pi.on("agent_settled", () => {
    change(() => ended(last, signal?.aborted ?? false));
    last = undefined;
  });
  pi.on("tool_result", (event) => {
    const path = event.input.path;
    if (event.isError || !["write", "edit"].includes(event.toolName) || typeof path !== "string") return;
    change((status) => ({ artifacts: [...new Set([...status.artifacts, path])].slice(-ARTIFACTS) }));
  });
}
