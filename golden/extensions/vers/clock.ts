// Tells the time where pi's events have none, so that whoever reads them later knows how long things took.

import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";

const CLOCK = "pi-v-clock"; // key of the status: milliseconds since the epoch

export function tick(pi: ExtensionAPI): void {
  const now = (_event: unknown, ctx: ExtensionContext) => ctx.ui.setStatus(CLOCK, String(Date.now()));
  pi.on("tool_execution_start", now);
  pi.on("agent_end", now);
}
