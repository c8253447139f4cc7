// What was said to an agent and by it: the oldest at the top, its end followed unless somebody looks further up.

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Diff } from "./diff.jsx";
import { blocks, html } from "./markdown.js";
import { memo } from "./parts.jsx";
import { took } from "./ticking.jsx";
import "./transcript.css";

const NEAR = 24; // pixels from the end that still count as being there
const CALLS = { running: ["⟳", "runs"], ok: ["✓", "done"], failed: ["✗", "failed"] };
const OUTCOMES = { done: "✓", error: "✗", aborted: "⊘" };

const byNumber = (things) => Object.keys(things ?? {}).sort((one, other) => one - other);

const Markdown = memo(({ text }) => {
  const parsed = useMemo(() => html(text), [text]);
  return <div class="pi-v-markdown" dangerouslySetInnerHTML={{ __html: parsed }} />;
});

function Streaming({ text }) {
  const known = useRef(null);
  const { settled, last } = (known.current = blocks(text, known.current));
  return (
    <div class="pi-v-streaming">
      {settled.map((block, at) => (
        <Markdown text={block} key={at} />
      ))}
      <Markdown text={last} />
    </div>
  );
}

function Call({ step }) {
  const [sign, state] = CALLS[step.state] ?? ["·", "not finished"];
  return (
    <details class={`pi-v-call pi-v-call-${step.state || "open"}`}>
      <summary>
        <span class="pi-v-sign" title={state}>
          {sign}
        </span>
        <strong>{step.name}</strong> <code>{step.text}</code>
        <span class="pi-v-faint">{step.state === "failed" ? " failed" : ""}</span>
        <span class="pi-v-faint pi-v-took">{step.seconds ? took(step.seconds) : ""}</span>
      </summary>
      <pre class="pi-v-whole" tabIndex={0} role="group" aria-label="Arguments">
        {step.text}
      </pre>
      {step.diff && <Diff text={step.diff} />}
      {step.result && (
        <pre tabIndex={0} role="group" aria-label="Result">
          {step.result}
        </pre>
      )}
    </details>
  );
}

function Thinking({ text }) {
  return (
    <details class="pi-v-thinking">
      <summary>
        Thoughts <span class="pi-v-faint">{text.trimStart().split("\n", 1)[0]}</span>
      </summary>
      <pre tabIndex={0} role="group" aria-label="Thoughts">
        {text}
      </pre>
    </details>
  );
}

function Prompt({ text }) {
  return (
    <div class="pi-v-prompt">
      <span class="pi-v-faint">Told</span>
      <pre>{text}</pre>
    </div>
  );
}

const STEPS = {
  prompt: ({ step }) => <Prompt text={step.text} />,
  text: ({ step }) => <Markdown text={step.text} />,
  partial: ({ step }) => <Streaming text={step.text} />,
  thinking: ({ step }) => <Thinking text={step.text} />,
  call: Call,
  broken: ({ step }) => (
    <div class="pi-v-broken">
      <span class="pi-v-faint">An answer that was broken off</span>
      <Markdown text={step.text} />
    </div>
  ),
  note: ({ step }) => <p class="pi-v-note">{step.text}</p>,
};

const Step = memo(({ step }) => {
  const Kind = STEPS[step.kind] ?? STEPS.note;
  return <Kind step={step} />;
});

const Run = memo(({ run, number }) => {
  const told = [
    run.outcome && `${OUTCOMES[run.outcome] ?? "·"} ${run.outcome}`,
    run.tokens > 0 && `${run.tokens.toLocaleString("en")} tokens`,
    run.cost > 0 && `$${run.cost.toFixed(4)}`,
    run.seconds > 0 && took(run.seconds),
  ].filter(Boolean);
  return (
    <section class="pi-v-run" aria-label={`Task ${number}`}>
      {run.cut > 0 && <p class="pi-v-note">Its first {run.cut} steps are left out.</p>}
      {byNumber(run.steps).map((at) => (
        <Step step={run.steps[at]} key={`${at} ${run.steps[at].kind}`} />
      ))}
      {run.error && run.outcome !== "aborted" && <p class="pi-v-error">✗ {run.error}</p>}
      {run.outcome && <p class="pi-v-faint pi-v-outcome">{told.join(" · ")}</p>}
    </section>
  );
});

/** `transcript` is as `shape.Transcript`; null: none has come yet. */
export function Transcript({ transcript, label }) {
  const box = useRef(null);
  const last = useRef(0);
  const [follows, follow] = useState(true);

  function toEnd() {
    box.current.scrollTop = box.current.scrollHeight;
    last.current = box.current.scrollTop;
    follow(true);
  }
  // Both events may come when the view has gone: then only they still know the box.
  function look({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) {
    if (clientHeight === 0) return; // hidden
    if (scrollHeight - scrollTop - clientHeight <= NEAR) follow(true);
    else if (scrollTop < last.current) follow(false);
    last.current = scrollTop;
  }
  // What somebody opens is to stay where it is.
  function opened({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) {
    follow(scrollHeight - scrollTop - clientHeight <= NEAR);
  }
  useLayoutEffect(() => {
    if (follows) toEnd();
  }, [transcript, follows]);
  useLayoutEffect(() => {
    const sizes = new ResizeObserver(() => follows && toEnd());
    sizes.observe(box.current);
    return () => sizes.disconnect();
  }, [follows]);

  const runs = byNumber(transcript?.runs);
  return (
    <div class="pi-v-transcript-frame">
      <div
        class="pi-v-transcript"
        ref={box}
        tabIndex={0}
        role="region"
        aria-label={`What was said to ${label} and by it`}
        onScroll={look}
        onToggleCapture={opened}
      >
        {transcript === null && <p class="pi-v-faint">Waiting for what was said…</p>}
        {transcript !== null && runs.length === 0 && <p class="pi-v-faint">Nothing was said yet.</p>}
        {transcript?.cut > 0 && <p class="pi-v-note">What was said before task {transcript.cut + 1} is left out.</p>}
        {runs.map((number) => (
          <Run run={transcript.runs[number]} number={Number(number) + 1} key={number} />
        ))}
      </div>
      {!follows && (
        <button type="button" class="pi-v-button pi-v-to-end" onClick={toEnd}>
          To the end ↓
        </button>
      )}
    </div>
  );
}
