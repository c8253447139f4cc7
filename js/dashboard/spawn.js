// Agents spawned: from which commit, how many, called what.

/** The commits as options of a list, golden ones first, and then the latest. */
function offered(commits) {
  return Object.entries(commits)
    .sort(([, one], [, other]) => other.golden - one.golden || other.created - one.created)
    .map(([id, { label, name, tags, golden }]) => {
      const called = [...new Set([...tags, name].filter(Boolean))].join(", ") || label;
      return [id, golden ? `★ ${called}` : `${called} (not golden)`];
    });
}

/** How there comes to be what agents start from; "" if it is there. */
export function lacking({ commits }) {
  if (Object.values(commits).some((commit) => commit.golden)) return "";
  return "No commit here is golden: `%vers golden build`, run in a cell, makes one that agents start from.";
}

/** Ask what to spawn, and have it done. */
export async function spawn({ store, act, fill }) {
  const options = offered(store.state.commits);
  const values = await fill({
    title: "Spawn agents",
    text: lacking(store.state) || [],
    fields: [
      { name: "commit", label: "Commit", type: "select", options, value: options[0][0] },
      { name: "n", label: "How many", type: "number", value: 1, min: 1, hint: "As many as labels, where there are some." },
      { name: "labels", label: "Labels", hint: "With commas or spaces between, such as `api, docs`." },
      { name: "model", label: "Model", placeholder: "anthropic/claude-sonnet-4-5", hint: "PROVIDER/ID; pi's own choice if left empty." },
      { name: "budget", label: "Budget of each", type: "number", min: 0, step: "any", hint: "US dollars; it asks before it spends more." },
    ],
    yes: "Spawn",
  });
  if (values === null) return;
  const { labels = "", n = 1, ...more } = values;
  const called = labels.split(/[\s,]+/).filter(Boolean);
  await act("spawn", { ...more, n: called.length || n, ...(called.length && { labels: called }) });
}
