// The cost budget: once it is used up, the agent is held before its next step, until somebody says whether to go on.
// One whom nobody hears, for another agent made it, stops there, and its status says why.

import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { BUDGET, type Sums, since } from "./costs.ts";
import { identity } from "./place.ts";
import { own } from "./status.ts";

/** All in US dollars: what may be spent, what was, and what was given to agents of its own. */
export interface Account {
  limit: number;
  cost: number;
  given: number;
}

/** What stands in its sessions and in `identity.json` now; undefined: no limit. */
export function account(ctx: ExtensionContext): Account | undefined {
  const me = identity();
  if (me?.budgetUsd === undefined) return undefined;
  const { cost, granted, given } = since(me.vmId, ctx);
  return { limit: me.budgetUsd + granted, cost, given };
}

let book: (booked: Partial<Sums>) => void = () => undefined;

/** Note what agents of its own were given; less than nothing: what came back. */
export function give(given: number): void {
  book({ given });
}

/** Hold the agent whenever its budget is used up. */
export function hold(pi: ExtensionAPI): void {
  let asking: Promise<boolean> | undefined;
  book = (booked) => pi.appendEntry(BUDGET, booked);

  const tell = (ctx: ExtensionContext) => {
    const limit = account(ctx)?.limit;
    if (limit !== undefined) ctx.ui.setStatus(BUDGET, String(limit));
  };

  const ask = async (ctx: ExtensionContext): Promise<boolean> => {
    for (let now = account(ctx); now && now.cost + now.given >= now.limit; now = account(ctx)) {
      const me = identity();
      const amount = me?.budgetUsd ?? 0;
      const given = now.given ? `, and $${now.given.toFixed(4)} are its agents'` : "";
      const spent = `$${now.cost.toFixed(4)} of $${now.limit.toFixed(4)}${given}`;
      if (!me?.asks || !ctx.hasUI) {
        if (ctx.hasUI) own.stopped(`budget used up: ${spent}`); // the status file is not that of a `pi -p` beside it
        return false;
      }
      const title = `Budget: ${me.agentId} has cost ${spent}. Go on?`;
      const more = await ctx.ui.confirm(title, `Yes: it may cost $${amount.toFixed(4)} more. No: it stops, and what it has done is kept.`, { signal: ctx.signal });
      if (more) book({ granted: now.cost + now.given + amount - now.limit });
      tell(ctx);
      if (!more) return false;
    }
    return true;
  };

  /** May it go on? Steps that come while it is asked wait for the same answer. */
  const mayGoOn = async (ctx: ExtensionContext): Promise<boolean> => {
    asking ??= ask(ctx).finally(() => {
      asking = undefined;
    });
    const going = await asking;
    if (!going) ctx.abort();
    return going;
  };

  pi.on("agent_start", (_event, ctx) => {
    const me = identity();
    if (me) since(me.vmId, ctx);
    tell(ctx);
  });
  pi.on("context", async (_event, ctx) => {
    await mayGoOn(ctx);
  });
  pi.on("tool_call", async (_event, ctx) => {
    if (!(await mayGoOn(ctx))) return { block: true, reason: "The budget is used up." };
  });
}
