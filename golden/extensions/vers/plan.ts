// Planning: while it is on, the agent has tools to look with and no others, and is told to end with a plan in steps.
// Whoever gave it its task turns it on and off, by a command; the tools that it had are then the same again.
//
// It is an entry of the session, with the tools of before, so a pi that is started again plans on.

import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";

const PLAN = "pi-v-plan"; // kind of our entries, and key of the status: "on" or "off"
const COMMAND = "vers-plan";
const LOOKING = ["read", "grep", "find", "ls"];
const TOLD = `

# You are planning

You may look, and change nothing yet: you have ${LOOKING.join(", ")} and no other tools. Whoever gave you this task decides on your plan before any of it is done. Find out what you need to know, and then end your answer with the steps, each one that can be done and checked, as a numbered list below a line that says \`Plan:\`

Plan:
1. The first step
2. The next one`;

interface Kept {
  planning: boolean;
  /** Those it had before. */
  tools: string[];
}

export function plan(pi: ExtensionAPI): void {
  let now: Kept = { planning: false, tools: [] };

  const tell = (ctx: ExtensionContext) => ctx.ui.setStatus(PLAN, now.planning ? "on" : "off");

  const turn = (planning: boolean) => {
    if (planning === now.planning) return;
    now = { planning, tools: planning ? pi.getActiveTools() : now.tools };
    pi.appendEntry<Kept>(PLAN, now);
    pi.setActiveTools(planning ? LOOKING : now.tools);
  };

  /** What stands in the session, whichever that is now. */
  const take = (ctx: ExtensionContext) => {
    const entry = ctx.sessionManager.getBranch().findLast((each) => each.type === "custom" && each.customType === PLAN);
    now = entry?.type === "custom" ? (entry.data as Kept) : { planning: false, tools: [] };
    if (now.planning) pi.setActiveTools(LOOKING);
    tell(ctx);
  };

  pi.registerCommand(COMMAND, {
    description: "on: look only, and plan; off: work again",
    handler: async (word, ctx) => {
      if (word !== "on" && word !== "off") throw new Error(`/${COMMAND} on, or off`);
      if (!ctx.isIdle()) throw new Error("It works: planning is turned on and off between its tasks.");
      turn(word === "on");
      tell(ctx);
    },
  });
  pi.on("session_start", (_event, ctx) => take(ctx));
  pi.on("before_agent_start", (event) => {
    if (!now.planning) return;
    pi.setActiveTools(LOOKING); // another extension may have given it more
    return { systemPrompt: event.systemPrompt + TOLD };
  });
  pi.on("tool_call", (event) => {
    if (now.planning && !LOOKING.includes(event.toolName)) {
      return { block: true, reason: `While you plan you have ${LOOKING.join(", ")} and no other tools.` };
    }
  });
}
