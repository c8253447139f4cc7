// Agents spawned: from which commit, how many, called what.

const MODEL =
  "PROVIDER/ID; the golden image's if left empty. Its key is the one in the provider's usual variable, such as " +
  "`ANTHROPIC_API_KEY`, where Jupyter was started. `scripted/rehearsal` needs none: what it says is canned.";

/** The commits as options of a list, golden ones first, and then the latest. */
function offered(commits) {
  return Object.entries(commits)
    .sort(([, one], [, other]) => other.golden - one.golden || other.created - one.created)
    .map(([id, { label, golden }]) => [id, golden ? `★ ${label}` : `${label} (not golden)`]);
}

/** How there comes to be what agents start from; "" if it is there. */
export function lacking({ commits }) {
  if (Object.values(commits).some((commit) => commit.golden)) return "";
  return "No commit here is golden: `%vers golden build`, run in a cell, makes one that agents start from.";
}

/** Ask what to spawn, and have it done. */
export function spawn({ store, fill }) {
  const options = offered(store.state.commits);
  fill({
    title: "Spawn agents",
    text: lacking(store.state) || [],
    fields: [
      { name: "commit", label: "Commit", type: "select", options, value: options[0][0] },
      { name: "n", label: "How many", type: "number", min: 1, hint: "Left empty, as many as labels; one without labels." },
      { name: "labels", label: "Labels", hint: "With commas or spaces between, such as `api, docs`." },
      { name: "model", label: "Model", placeholder: "anthropic/claude-opus-4-8", hint: MODEL },
      { name: "budget", label: "Budget of each", type: "number", min: 0, step: "any", hint: "US dollars; it asks before it spends more." },
    ],
    yes: "Spawn",
    intent({ labels = "", ...more }) {
      const called = labels.split(/[\s,]+/).filter(Boolean);
      return ["spawn", { ...more, ...(called.length && { labels: called }) }];
    },
  });
}
