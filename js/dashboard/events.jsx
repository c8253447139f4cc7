// What happened, the latest first.

import { useId, useState } from "preact/hooks";
import { Code, Empty, memo } from "./parts.jsx";
import { called } from "./words.js";
import "./events.css";

const LEVELS = { info: ["·", "info"], warning: ["▲", "warning"], error: ["✗", "error"] };

export function Events({ store }) {
  const { events } = store.state;
  const [kind, setKind] = useState("");
  const [text, setText] = useState("");
  const id = useId();
  const kinds = [...new Set(Object.values(events).map((event) => event.kind))].sort();
  const wanted = text.trim().toLowerCase();
  const shown = Object.keys(events)
    .sort((one, other) => other - one)
    .filter((number) => {
      const event = events[number];
      return (!kind || event.kind === kind) && (!wanted || `${event.about} ${event.text}`.toLowerCase().includes(wanted));
    });
  return (
    <div class={wanted || kind ? "pi-v-events" : "pi-v-events pi-v-events-all"}>
      <div class="pi-v-filter" role="search" aria-label="Events">
        <label for={`${id}-kind`}>Kind</label>
        <select id={`${id}-kind`} value={kind} onChange={(event) => setKind(event.target.value)}>
          <option value="">all</option>
          {kinds.map((each) => (
            <option value={each} key={each}>
              {each}
            </option>
          ))}
        </select>
        <label for={`${id}-text`}>Text</label>
        <input id={`${id}-text`} type="search" value={text} onInput={(event) => setText(event.target.value)} />
        <span class="pi-v-dim" role="status">
          {wanted || kind ? `${shown.length} of ${Object.keys(events).length}` : ""}
        </span>
      </div>
      {shown.length === 0 && <Empty>{wanted || kind ? "No event is like that." : "Nothing has happened yet."}</Empty>}
      <ol>
        {shown.map((number) => (
          <Event event={events[number]} key={number} />
        ))}
      </ol>
    </div>
  );
}

const Event = memo(({ event }) => {
  const [sign, level] = LEVELS[event.level] ?? LEVELS.info;
  const at = new Date(event.at * 1000);
  return (
    <li class={`pi-v-event pi-v-event-${level}`}>
      <time datetime={at.toISOString()} title={at.toLocaleString()}>
        {at.toLocaleTimeString([], { hourCycle: "h23" })}
      </time>
      <span class="pi-v-event-level">
        <span aria-hidden="true">{sign}</span> {level === "info" ? <span class="pi-v-aside">info</span> : level}
      </span>
      <span class="pi-v-dim">{event.kind}</span>
      <span class="pi-v-event-text">
        <strong>{event.kind === "done" ? called(event.about) : event.about}</strong>
        {event.kind === "done" && level === "error" ? " failed: " : " "}
        <Code text={event.text} />
      </span>
    </li>
  );
});
