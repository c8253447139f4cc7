// The box in which one tells agents something.

import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useSending } from "./drafts.js";
import { Button, useFrame } from "./parts.jsx";
import { names } from "./words.js";
import "./telling.css";

const LINES = 8; // a box grows to as many

/**
 * Tells `agents`, a list of ids. `works`: does one of them work, so that it has to be said when it is told?
 * `drafts` (see drafts.js) keep what was typed and not sent, as `draft`.
 */
export function Prompt({ agents, works, drafts, draft, label, focus = false }) {
  const { act } = useFrame();
  const { typed } = drafts;
  const [text, setText] = useState(typed.get(draft) ?? "");
  const [how, choose] = useState("steer");
  const { sending, send } = useSending(drafts, draft, () => setText(typed.get(draft) ?? ""));
  const box = useRef(null);
  const id = useId();
  useLayoutEffect(() => {
    if (focus) box.current.focus({ preventScroll: true });
  }, []);

  function write(next) {
    typed.set(draft, next);
    setText(next);
  }
  async function tell() {
    const { ok } = await act(works ? how : "task", { agents, text });
    if (ok && typed.get(draft) === text) typed.delete(draft);
  }
  function submit() {
    if (text.trim() !== "" && !sending) send(tell);
  }
  function key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!event.repeat) submit(); // a key still held from before says nothing
  }
  const lines = Math.min(LINES, Math.max(2, text.split("\n").length));
  const why = sending ? "It is being sent." : text.trim() === "" ? "Nothing is written yet." : "";
  return (
    <div class="pi-v-telling" role="group" aria-label={label}>
      <textarea
        ref={box}
        rows={lines}
        value={text}
        aria-label={label}
        aria-describedby={`${id}-keys`}
        placeholder={label}
        onInput={(event) => write(event.target.value)}
        onKeyDown={key}
      />
      <div class="pi-v-telling-how">
        {works && (
          <fieldset>
            <legend class="pi-v-aside">When is it told?</legend>
            <How id={id} value="steer" how={how} choose={choose} title="It is told once the tools under way have returned">
              Steer
            </How>
            <How id={id} value="follow_up" how={how} choose={choose} title="It is told when it has finished what it does">
              Follow-up
            </How>
          </fieldset>
        )}
        <span class="pi-v-telling-send">
          <small id={`${id}-keys`}>Enter sends, Shift+Enter begins a line</small>
          <Button kind="main" onClick={submit} why={why}>
            Send
          </Button>
        </span>
      </div>
    </div>
  );
}

/** In place of the box, while one of these, called so, cannot be told anything yet. */
export function NotReady({ called }) {
  return (
    <p class="pi-v-note" role="status">
      {names(called)} {called.length === 1 ? "is starting: it takes a task when it is" : "are starting: they take a task when they are"} ready.
    </p>
  );
}

function How({ id, value, how, choose, title, children }) {
  return (
    <label title={title}>
      <input type="radio" title={title} name={id} value={value} checked={how === value} onChange={() => choose(value)} /> {children}
    </label>
  );
}
