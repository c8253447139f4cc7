// What an agent has planned, and which steps are done.

const SAID = {
  planning: "plans: it may only look",
  planned: "waits to be carried out: %plan run",
  working: "is being carried out",
  stopped: "stopped: %plan run goes on",
  done: "is done",
};

/** On its card, in short. */
export function PlanCount({ plan }) {
  if (plan.stage === "") return null;
  if (plan.total === 0) return <span class="pi-v-plan-count">{plan.stage === "planning" ? "planning" : "no plan"}</span>;
  return (
    <span class="pi-v-plan-count" title={`Its plan ${SAID[plan.stage]}`}>
      plan {plan.done}/{plan.total}
    </span>
  );
}

/** In its view: the steps, the next one marked. */
export function Plan({ plan, label }) {
  if (plan.stage === "") return null;
  const steps = Object.values(plan.steps);
  const next = plan.stage === "working" ? steps.findIndex((step) => !step.done) : -1;
  const left = plan.total - steps.length;
  return (
    <details class="pi-v-plan" open aria-label={`Plan of ${label}`}>
      <summary>
        Plan {plan.total > 0 && `${plan.done}/${plan.total} `}
        <span>{plan.total > 0 || plan.stage === "planning" ? SAID[plan.stage] : "there is none"}</span>
      </summary>
      {plan.trouble && <p class="pi-v-trouble">No new plan: {plan.trouble}</p>}
      <ul>
        {steps.map((step, at) => (
          <li key={at} aria-current={at === next ? "step" : undefined} class={step.done ? "pi-v-step-done" : ""}>
            <span role="img" aria-label={step.done ? "done" : at === next ? "next" : "not done"}>
              {step.done ? "✓" : at === next ? "▸" : "○"}
            </span>
            {step.number}. {step.text}
          </li>
        ))}
      </ul>
      {left > 0 && <p>… {left} more</p>}
    </details>
  );
}
