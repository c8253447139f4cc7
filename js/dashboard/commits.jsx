// Commits: their rows' parts, and what can be done with them.

import { HOW_MANY } from "./machineactions.js";
import { issue } from "./lineage.js";
import { names, several } from "./words.js";

/** For the commits `ids`: a list of {label, onClick, why, danger}. */
export function commitActions({ store, act, fill, ask }, ids) {
  const { machines, commits } = store.state;
  const those = ids.map((id) => commits[id]);
  const tags = those.flatMap((commit) => commit.tags);
  const [commit] = ids;
  const called = names(those.map(({ label }) => label));
  const one = ids.length === 1 ? "" : "Choose one commit only.";

  function restore() {
    const fields = [
      { ...HOW_MANY, label: "How many machines" },
      { name: "name", label: "Name" },
    ];
    fill({ title: `Restore ${called}`, fields, yes: "Restore", intent: (values) => ["restore", { commit, ...values }] });
  }
  function tag() {
    const fields = [{ name: "tag", label: "Tag", required: true, hint: "If another commit has it, it moves here." }];
    fill({ title: `Tag ${called}`, fields, yes: "Tag", intent: (values) => ["tag", { commit, ...values }] });
  }
  async function remove() {
    const made = issue({ ...commits, ...machines }, ids).map((id) => (machines[id] ?? commits[id]).label);
    const golden = those.filter((one) => one.golden);
    const text = [
      `${called} cannot be restored any more.`,
      made.length > 0 && `What came from ${ids.length === 1 ? "it" : "them"} stays: ${names(made)}.`,
      tags.length > 0 && `${tags.length === 1 ? "Its tag goes" : "Tags that go"} too: ${names(tags)}.`,
      golden.length > 0 && `Agents start from ${names(golden.map(({ label }) => label))}.`,
    ].filter(Boolean);
    const title = ids.length === 1 ? `Delete ${called}?` : `Delete ${several(ids.length, "commit")}?`;
    if (await ask({ title, text, yes: "Delete", danger: true })) act("delete_commits", { commits: ids });
  }

  const from = Object.values(machines).filter(({ parent }) => ids.includes(parent));
  const needed =
    from.length > 0
      ? `${names(from.map(({ label }) => label))} came from ${ids.length === 1 ? "it" : "them"}: delete ${from.length === 1 ? "that" : "those"} first.`
      : "";
  const untag = tags.length
    ? tags.map((tag) => ({ label: `Untag ${tag}`, onClick: () => act("untag", { tag }) }))
    : [{ label: "Untag", why: ids.length === 1 ? "It has no tag." : "They have no tags." }];
  return [
    { label: "Restore…", why: one, onClick: restore },
    { label: "Tag…", why: one, onClick: tag },
    ...untag,
    { label: "Delete…", why: needed, onClick: remove, danger: true },
  ];
}

/** What a commit is called, and what else names it. */
export function CommitName({ commit: { label, name, tags } }) {
  const tagged = tags.includes(label);
  return (
    <>
      <span class={tagged ? "pi-v-name pi-v-chip" : "pi-v-name pi-v-dim"} title={tagged ? `Tag ${label}` : label}>
        {label}
      </span>
      {name && name !== label && <span class="pi-v-dim"> {name}</span>}
      {tags.filter((tag) => tag !== label).map((tag) => (
        <span class="pi-v-chip" key={tag}>
          <span class="pi-v-aside">tag </span>
          {tag}
        </span>
      ))}
    </>
  );
}
