// Agents: a card each, one of them opened, and what can be done with many.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Agent } from "./agent.jsx";
import { Card, Cost } from "./card.jsx";
import { abort, restart, teardown, whyNotAbort } from "./deeds.js";
import { makeDrafts } from "./drafts.js";
import { Button, Code, Empty, useFrame } from "./parts.jsx";
import { NotReady, Prompt } from "./prompt.jsx";
import { useSelection } from "./selection.js";
import { lacking, spawn } from "./spawn.js";
import { busy, sign, starts, words } from "./states.js";
import { Panel } from "./tabs.jsx";
import "./swarm.css";

const FEW = 12; // cards that need no filter

const inOrder = new Intl.Collator("en", { numeric: true }).compare;

export function Swarm({ store }) {
  const { agents } = store.state;
  const [opened, open] = useState(""); // the id of the agent whose transcript is shown
  const [state, filter] = useState(""); // of those that are shown; "": all
  const all = Object.keys(agents).sort((one, other) => inOrder(agents[one].label, agents[other].label));
  const shown = state ? all.filter((id) => agents[id].state === state) : all;
  const selection = useSelection(shown);
  const box = useRef(null);
  const back = useRef(""); // the agent whose card the focus goes back to
  const [drafts] = useState(makeDrafts);
  const there = opened in agents;
  useLayoutEffect(() => {
    const reading = there ? opened : "";
    if (store.reading !== reading) store.read(reading);
    if (there) back.current = opened;
    else if (back.current) {
      const card = box.current.querySelector(`[data-agent="${CSS.escape(back.current)}"] .pi-v-open`);
      if (document.activeElement === document.body) (card ?? box.current).focus(); // it was in what has gone
      back.current = "";
    }
  }, [opened, there]);
  return (
    <div class="pi-v-swarm" ref={box} tabIndex={-1}>
      {there && <Agent id={opened} drafts={drafts} close={() => open("")} key={opened} />}
      <div hidden={there && "until-found"} onBeforeMatch={() => open("")}>
        <Panel shown={!there}>
          <Cards {...{ all, shown, state, filter, selection, open, drafts }} />
        </Panel>
      </div>
    </div>
  );
}

function Cards({ all, shown, state, filter, selection, open, drafts }) {
  const frame = useFrame();
  const { agents } = frame.store.state;
  const { chosen, choose, chooseAll } = selection;
  const missing = lacking(frame.store.state);
  const none = Object.keys(frame.store.state.commits).length === 0;
  return (
    <>
      <div class="pi-v-swarm-bar">
        <Sums sums={frame.store.state.sums} />
        <Button kind="main" why={none ? missing.replaceAll("`", "") : ""} onClick={() => spawn(frame)}>
          Spawn…
        </Button>
      </div>
      {missing && (
        <p class="pi-v-hint">
          <Code text={missing} />
        </p>
      )}
      {all.length > FEW && <Filter agents={agents} state={state} filter={filter} />}
      {all.length > 1 && (
        <label class="pi-v-check">
          <input
            type="checkbox"
            checked={shown.length > 0 && chosen.size === shown.length}
            onChange={(event) => chooseAll(event.target.checked)}
          />{" "}
          Select all {state ? "shown" : ""}
        </label>
      )}
      {chosen.size > 0 && <Chosen ids={[...chosen]} frame={frame} drafts={drafts} clear={() => chooseAll(false)} />}
      {all.length === 0 && <Empty>No agents. An agent is a coding agent on a VM of its own.</Empty>}
      {all.length > 0 && shown.length === 0 && <Empty>None is in that state now.</Empty>}
      <div class="pi-v-cards">
        {shown.map((id) => (
          <Card id={id} card={agents[id]} selected={chosen.has(id)} choose={choose} open={open} drafts={drafts} key={id} />
        ))}
      </div>
    </>
  );
}

function Sums({ sums }) {
  return (
    <p class="pi-v-agents-sums">
      <strong>
        {sums.agents} {sums.agents === 1 ? "agent" : "agents"}
      </strong>
      {sums.working > 0 && (
        <span>
          {sign("working")} {sums.working} working
        </span>
      )}
      {sums.waiting > 0 && (
        <span class="pi-v-tone-warn">
          {sign("waiting")} {sums.waiting} {sums.waiting === 1 ? "waits" : "wait"} for you
        </span>
      )}
      <Cost cost={sums.cost} budget={sums.budget} />
    </p>
  );
}

/** Cards by state; `state` is the one shown, "" all. */
function Filter({ agents, state, filter }) {
  const counts = new Map();
  for (const each of Object.values(agents)) counts.set(each.state, (counts.get(each.state) ?? 0) + 1);
  if (state && !counts.has(state)) counts.set(state, 0);
  return (
    <div class="pi-v-filter" role="group" aria-label="Show by state">
      <Button aria-pressed={state === ""} onClick={() => filter("")}>
        All
      </Button>
      {[...counts].sort().map(([each, count]) => (
        <Button aria-pressed={state === each} onClick={() => filter(each)} key={each}>
          {sign(each)} {words({ state: each, detail: "" })} {count}
        </Button>
      ))}
    </div>
  );
}

/** What is done with all that are selected. */
function Chosen({ ids, frame, drafts, clear }) {
  const { agents } = frame.store.state;
  const works = ids.some((id) => busy(agents[id]));
  const early = ids.filter((id) => starts(agents[id]));
  const who = ids.length === 1 ? agents[ids[0]].label : `${ids.length} agents`;
  return (
    <section class="pi-v-chosen" aria-label="Selected agents">
      <div class="pi-v-deeds">
        <strong>{ids.length} selected</strong>
        <Button why={whyNotAbort(ids, agents)} onClick={() => abort(ids, frame)}>
          Abort
        </Button>
        <Button onClick={() => restart(ids, frame)}>Restart</Button>
        <Button kind="danger" onClick={() => teardown(ids, frame)}>
          Tear down…
        </Button>
        <Button kind="quiet" onClick={clear}>
          Clear
        </Button>
      </div>
      {early.length > 0 ? (
        <NotReady called={early.map((id) => agents[id].label)} />
      ) : (
        <Prompt
          agents={ids}
          works={works}
          drafts={drafts}
          draft="selected"
          label={works ? `Tell ${who} something` : `Give ${who} a task`}
        />
      )}
    </section>
  );
}
