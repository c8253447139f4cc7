// Tools for an agent on a VM: other VMs, and agents of its own. pi loads this as it is; `vers/` has the parts.

import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import { hold } from "./vers/budget.ts";
import { tick } from "./vers/clock.ts";
import * as machines from "./vers/machines.ts";
import { plan } from "./vers/plan.ts";
import { follow } from "./vers/status.ts";
import * as swarm from "./vers/swarm.ts";

export default function (pi: ExtensionAPI): void {
  for (const tool of [machines.vms, machines.create, machines.branch, machines.commit, machines.restore]) pi.registerTool(tool);
  for (const tool of [machines.remove, machines.state, machines.copy, machines.exec]) pi.registerTool(tool);
  for (const tool of [swarm.spawn, swarm.task, swarm.status, swarm.read]) pi.registerTool(tool);
  follow(pi);
  hold(pi);
  tick(pi);
  plan(pi);
}
