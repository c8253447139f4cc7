// An agent in short. A card is drawn again only when its agent has changed.

import { amount, memo, money } from "./parts.jsx";
import { PlanCount } from "./plan.jsx";
import { Questions } from "./questions.jsx";
import { busy, sign, tone, words } from "./states.js";
import { Elapsed, took } from "./ticking.jsx";

/** What it has cost, of what it may. */
export function Cost({ cost, budget }) {
  if (budget === 0) return cost > 0 && <span>{money(cost)}</span>;
  const share = Math.min(1, cost / budget);
  return (
    <span class="pi-v-cost">
      {money(cost) || "$0"} of {money(budget)}
      <span class="pi-v-bar-of" aria-hidden="true">
        <span class={share >= 0.9 ? "pi-v-near" : ""} style={{ width: `${100 * share}%` }} />
      </span>
    </span>
  );
}

/** Its state, as a sign and in words. */
export function State({ card }) {
  return (
    <span class={`pi-v-state pi-v-tone-${tone(card.state)}`}>
      <span class="pi-v-sign" aria-hidden="true">
        {sign(card.state)}
      </span>
      {words(card)}
    </span>
  );
}

/** Its model, without the provider. */
export function Model({ name }) {
  return (
    name && (
      <span class="pi-v-model" title={name}>
        {name.slice(name.indexOf("/") + 1)}
      </span>
    )
  );
}

/** How long its run goes on, or how long the last took. */
export function Time({ card }) {
  if (busy(card) && card.began > 0) return <Elapsed since={card.began} />;
  return card.seconds > 0 && <span>{took(card.seconds)}</span>;
}

/** What is wrong with it, if anything. */
export function Trouble({ card }) {
  const failed = card.state !== "retrying" && card.state !== "aborted" && card.detail; // who aborts it knows
  return (
    <>
      {card.trouble && <p class="pi-v-trouble">⚠ Not heard: {card.trouble}</p>}
      {failed && <p class="pi-v-trouble">{card.detail}</p>}
    </>
  );
}

/** `choose(id, on, range)`: it is to be selected, or not any more; `range`: all from the last one on; `drafts` as `Questions`. */
export const Card = memo(({ id, card, selected, choose, open, drafts }) => (
  <article class={`pi-v-card pi-v-tone-${tone(card.state)}`} data-agent={id} aria-label={card.label}>
    <header>
      <input
        type="checkbox"
        checked={selected}
        aria-label={`Select ${card.label}`}
        title="With Shift, all from the last one on"
        onClick={(event) => choose(id, event.target.checked, event.shiftKey)}
      />
      <h3>
        <button type="button" class="pi-v-open" title={`Open ${card.label}`} onClick={() => open(id)}>
          {card.label}
        </button>
      </h3>
      <State card={card} />
      <Time card={card} />
    </header>
    {card.task && (
      <p class="pi-v-task" title={card.task}>
        {card.task}
      </p>
    )}
    {card.calls.length > 0 && (
      <ul class="pi-v-calls" aria-label="Tool calls under way">
        {card.calls.map((call, at) => (
          <li key={at}>
            <code>{call}</code>
          </li>
        ))}
      </ul>
    )}
    {card.words && (
      <div class="pi-v-words">
        <div>{card.words}</div>
      </div>
    )}
    <Trouble card={card} />
    <Questions agent={id} label={card.label} asks={card.asks} drafts={drafts} />
    <footer>
      {card.tokens > 0 && <span title={card.tokens.toLocaleString("en")}>{amount(card.tokens)} tokens</span>}
      <Cost cost={card.cost} budget={card.budget} />
      <PlanCount plan={card.plan} />
      {card.queued > 0 && <span>{card.queued} queued</span>}
      <Model name={card.model} />
    </footer>
  </article>
));
