// What became of intents: those under way and the last good answer in a line, what failed until it is dismissed.

import { useRef, useState } from "preact/hooks";
import { Button, Said } from "./parts.jsx";
import { called } from "./words.js";

/** {act, latest, failures, dismiss}; `act` as parts.jsx tells it. */
export function useAnswers(store) {
  const [, draw] = useState(0);
  const { current: answers } = useRef({ underWay: new Map(), good: null, failures: new Map(), count: 0 });
  const changed = () => draw((times) => times + 1);
  async function act(name, args = {}, { quiet = false, told = () => false } = {}) {
    const id = ++answers.count;
    answers.underWay.set(id, called(name));
    answers.good = null;
    changed();
    const answer = await store.act(name, args);
    answers.underWay.delete(id);
    if (!answer.ok && !told()) answers.failures.set(id, { ...answer, action: called(name) });
    else if (answer.ok && !quiet) answers.good = answer;
    changed();
    return answer;
  }
  function dismiss(...ids) {
    for (const id of ids) answers.failures.delete(id);
    changed();
  }
  return { act, dismiss, ...answers };
}

/** What goes on, or what was done last. */
export function Latest({ answers: { underWay, good } }) {
  return (
    <div class="pi-v-latest" role="status">
      {underWay.size > 0 ? (
        <p>
          <span class="pi-v-spin" aria-hidden="true">
            ⟳
          </span>{" "}
          {[...new Set(underWay.values())].join(", ")}…
        </p>
      ) : (
        good && <Said answer={good} />
      )}
    </div>
  );
}

/** What failed. */
export function Failures({ answers: { failures, dismiss } }) {
  return (
    <div class="pi-v-failures" aria-live="polite">
      {[...failures].map(([id, answer]) => (
        <Said answer={answer} onDismiss={() => dismiss(id)} key={id} />
      ))}
      {failures.size > 1 && (
        <Button kind="quiet" title="Do not show any of these any more" onClick={() => dismiss(...failures.keys())}>
          Dismiss all
        </Button>
      )}
    </div>
  );
}
