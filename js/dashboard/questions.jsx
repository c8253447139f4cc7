// Questions of agents, which go no further until they are answered.

import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useSending } from "./drafts.js";
import { Button, memo, useFrame } from "./parts.jsx";
import "./telling.css";

const BUTTONS = 6; // options up to which each is a button

/** All that an agent asks; `focus`: begin there; `drafts` (see drafts.js) keep what was typed and not sent. */
export const Questions = memo(({ agent, label, asks, drafts, focus = false }) => (
  <>
    {asks.map((asked, at) => (
      <Question agent={agent} label={label} asked={asked} drafts={drafts} focus={focus && at === 0} key={asked.id} />
    ))}
  </>
));

function Question({ agent, label, asked, drafts, focus }) {
  const { act } = useFrame();
  const form = useRef(null);
  const id = useId();
  const draft = `${agent} ${asked.id}`;
  const [typed] = useState(drafts.typed.get(draft));
  const { sending, send } = useSending(drafts, draft, () => {});
  useLayoutEffect(() => {
    const first = form.current.querySelector("[data-first]") ?? form.current.querySelector("p"); // no button that answers
    if (focus) first.focus({ preventScroll: true });
  }, []);
  async function say(given) {
    const { ok } = await act("answer", { agent, dialog: asked.id, ...given });
    if (ok) drafts.typed.delete(draft);
    return ok; // it goes with the next snapshot
  }
  function answer(given) {
    if (!sending) send(() => say(given));
  }
  // A key that is held since before the question was there answers nothing.
  function key(event) {
    if (event.key === "Enter" && event.repeat && event.target.nodeName !== "TEXTAREA") event.preventDefault();
  }
  const why = sending ? "The answer is being sent." : "";
  const Kind = { select: Select, confirm: Confirm, input: Field, editor: Field }[asked.method] ?? Field;
  return (
    <form
      class="pi-v-question"
      ref={form}
      aria-labelledby={id}
      onKeyDown={key}
      onSubmit={(event) => {
        event.preventDefault();
        const { option, value } = event.target.elements;
        answer(option ? { option: Number(option.value) } : { value: value.value });
      }}
    >
      <p id={id} tabIndex={-1}>
        <span class="pi-v-sign" aria-hidden="true">
          ?
        </span>
        <span class="pi-v-aside">{label} asks: </span>
        <strong>{asked.title}</strong>
      </p>
      <Kind asked={asked} answer={answer} why={why} label={asked.title} typed={typed} write={(text) => drafts.typed.set(draft, text)} />
      <LeftOut asked={asked} label={label} />
    </form>
  );
}

/** What is not shown of it, which whoever answers should know of. */
function LeftOut({ asked, label }) {
  const parts = [
    asked.cut > 0 && `${asked.cut} characters`,
    asked.more > 0 && `${asked.more} answers`,
    !asked.cut && uneditable(asked) && "characters that cannot be edited",
  ].filter(Boolean);
  if (parts.length === 0) return null;
  return (
    <p class="pi-v-note">
      {parts.join(" and ")} of it are not shown here. <code>%vers swarm answer {label}</code> shows all, and answers it.
    </p>
  );
}

// What was left out of a text would be left out of the answer.
const uneditable = ({ method, whole }) => method === "editor" && !whole;

function Dismiss({ answer, why }) {
  return (
    <Button kind="quiet" why={why} title="Leave it unanswered: the agent is told so, and may take it for a No" onClick={() => answer({ cancelled: true })}>
      Dismiss
    </Button>
  );
}

function Text({ text }) {
  return text && <pre tabIndex={0}>{text}</pre>;
}

function Confirm({ asked, answer, why }) {
  return (
    <>
      <Text text={asked.text} />
      <div class="pi-v-answers">
        <Button kind="main" why={why} onClick={() => answer({ confirmed: true })}>
          Yes
        </Button>
        <Button why={why} onClick={() => answer({ confirmed: false })}>
          No
        </Button>
        <Dismiss answer={answer} why={why} />
      </div>
    </>
  );
}

function Select({ asked, answer, why, label }) {
  const few = asked.options.length <= BUTTONS;
  return (
    <>
      <Text text={asked.text} />
      <div class="pi-v-answers">
        {few ? (
          asked.options.map((option, at) => (
            <Button why={why} onClick={() => answer({ option: at })} key={at}>
              {option}
            </Button>
          ))
        ) : (
          <>
            <select name="option" aria-label={label}>
              {asked.options.map((option, at) => (
                <option value={at} key={at}>
                  {option}
                </option>
              ))}
            </select>
            <Button kind="main" type="submit" why={why}>
              Answer
            </Button>
          </>
        )}
        <Dismiss answer={answer} why={why} />
      </div>
    </>
  );
}

function Field({ asked, answer, why, label, typed, write }) {
  const common = { name: "value", "data-first": true, "aria-label": label, onInput: (event) => write(event.target.value) };
  if (uneditable(asked)) {
    return (
      <>
        <Text text={asked.text} />
        <div class="pi-v-answers">
          <Dismiss answer={answer} why={why} />
        </div>
      </>
    );
  }
  return (
    <>
      {asked.method === "editor" ? (
        <textarea rows={5} defaultValue={typed ?? asked.text} {...common} />
      ) : (
        <input type="text" autocomplete="off" placeholder={asked.text} defaultValue={typed} {...common} />
      )}
      <div class="pi-v-answers">
        <Button kind="main" type="submit" why={why}>
          Answer
        </Button>
        <Dismiss answer={answer} why={why} />
      </div>
    </>
  );
}
