// How the platform is reached, whether the kernel is heard, and what all agents have used.

import { useTicking } from "./frame.js";
import { amount, Age, Button, Code, money, useFrame } from "./parts.jsx";

const MARKS = { connecting: "…", ok: "●", trouble: "▲" };

/** The line at the top. */
export function Connection({ store }) {
  const { act } = useFrame();
  const { connection, sums, looking, lost } = store.state;
  return (
    <header class="pi-v-connection">
      <p class={`pi-v-platform pi-v-is-${connection.state}`}>
        <span class="pi-v-mark" aria-hidden="true">
          {MARKS[connection.state]}
        </span>
        <b title={connection.url}>{connection.label}</b>
        {connection.state === "connecting" && <span class="pi-v-dim">connecting…</span>}
      </p>
      {sums.agents > 0 && <Sums sums={sums} />}
      <div class="pi-v-notices" role="status">
        {connection.state === "trouble" && (
          <p class="pi-v-notice">
            <span>
              <Code text={connection.reason} />
              {connection.checked > 0 && (
                <span aria-hidden="true">
                  {" "}
                  It last answered <Age at={connection.checked} /> ago.
                </span>
              )}{" "}
              <Code text={connection.remedy} />
            </span>
            <Button onClick={() => act("check")}>Try again</Button>
          </p>
        )}
        {lost && (
          <p class="pi-v-notice">
            <span>
              {lost}, which cells run on, is gone: cells are refused until they run elsewhere.
            </span>
            <Button onClick={() => act("local")} title="Cells run on this computer again">
              Run here
            </Button>
          </p>
        )}
        {looking && (
          <p class="pi-v-notice">
            <span>
              ◎ Plan mode: what may do more than look is refused. <code>%plan off</code> ends it.
            </span>
          </p>
        )}
        <Kernel store={store} />
      </div>
    </header>
  );
}

function Kernel({ store }) {
  const { gone, stale, waiting } = store;
  return (
    <>
      {gone ? (
        <p class="pi-v-notice">
          <span>
            The kernel that this was shown by is gone; this is what was last seen. Run{" "}
            <code>%load_ext pi_v_jupyter</code> and <code>%vers</code> for a live one.
          </span>
        </p>
      ) : (
        stale && (
          <p class="pi-v-notice">
            <span>
              The kernel has been silent <Silence />; what is shown may be old.
            </span>
          </p>
        )
      )}
      {waiting > 0 && !gone && (
        <p class="pi-v-notice">
          <span>
            {waiting === 1 ? "What you asked for" : `The ${waiting} things you asked for`} will be done when the cell has
            ended.
          </span>
        </p>
      )}
    </>
  );
}

/** How long it has been silent; a screen reader is not told each second. */
function Silence() {
  const { store } = useFrame();
  return <span aria-hidden="true">for {useTicking(() => Math.floor(store.silence()))} s</span>;
}

function Sums({ sums }) {
  const cost = money(sums.cost) || "$0";
  return (
    <p class="pi-v-sums" role="group" aria-label="All agents">
      <span>{amount(sums.tokens)} tokens</span>
      <span title={sums.budget ? "Spent, of the budgets of all agents" : "Spent"}>
        {sums.budget ? `${cost} of ${money(sums.budget)}` : cost}
      </span>
    </p>
  );
}
