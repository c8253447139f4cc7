// One agent, opened: what was said, and all one can tell it.

import { useRef } from "preact/hooks";
import { Cost, Model, State, Time, Trouble } from "./card.jsx";
import { abort, restart, teardown, whyNotAbort } from "./deeds.js";
import { Button, useFrame } from "./parts.jsx";
import { Plan } from "./plan.jsx";
import { NotReady, Prompt } from "./prompt.jsx";
import { Questions } from "./questions.jsx";
import { busy, starts } from "./states.js";
import { Transcript } from "./transcript.jsx";

/** `close` goes back to the cards; `drafts` as `Prompt` and `Questions` have them. */
export function Agent({ id, drafts, close }) {
  const frame = useFrame();
  const { store } = frame;
  const { agents } = store.state;
  const card = agents[id];
  // Where the focus begins: on what is there when it is opened, and on nothing that comes later.
  const begins = useRef(starts(card) ? "view" : card.asks.length > 0 ? "question" : "prompt");
  function key(event) {
    if (event.key === "Escape" && !event.isComposing) close();
  }
  return (
    <section class="pi-v-agent" aria-label={`Agent ${card.label}`} onKeyDown={key}>
      <header>
        <Button kind="quiet" onClick={close} title="Back to all agents (Esc)">
          ← Agents
        </Button>
        <h2>{card.label}</h2>
        <State card={card} />
        <Time card={card} />
        {card.tokens > 0 && <span>{card.tokens.toLocaleString("en")} tokens</span>}
        <Cost cost={card.cost} budget={card.budget} />
        {card.queued > 0 && <span>{card.queued} queued</span>}
        <Model name={card.model} />
        <span class="pi-v-deeds">
          <Button why={whyNotAbort([id], agents)} onClick={() => abort([id], frame)}>
            Abort
          </Button>
          <Button onClick={() => restart([id], frame)}>Restart</Button>
          <Button kind="danger" onClick={() => teardown([id], frame)}>
            Tear down…
          </Button>
        </span>
      </header>
      <Trouble card={card} />
      <Plan plan={card.plan} label={card.label} />
      <Transcript transcript={store.transcript} label={card.label} />
      <Questions agent={id} label={card.label} asks={card.asks} drafts={drafts} focus={begins.current === "question"} />
      {starts(card) ? (
        <NotReady called={[card.label]} />
      ) : (
        <Prompt
          agents={[id]}
          works={busy(card)}
          drafts={drafts}
          draft={id}
          label={busy(card) ? `Tell ${card.label} something` : `Give ${card.label} a task`}
          focus={begins.current === "prompt"}
        />
      )}
    </section>
  );
}
