// A unified diff, a line each, with the colours of diffs; the + and − stay, for those who see no colours.

const KINDS = { "+": "added", "-": "removed", "@": "where" };
const HEADER = /^(\+\+\+|---|diff |index )/;

function kind(line) {
  return HEADER.test(line) ? "where" : (KINDS[line[0]] ?? "same");
}

export function Diff({ text }) {
  const lines = text.replace(/\n$/, "").split("\n");
  return (
    <pre class="pi-v-diff" tabIndex={0} role="group" aria-label="What was changed">
      {lines.map((line, at) => (
        <span class={`pi-v-diff-${kind(line)}`} key={at}>
          {line}
          {"\n"}
        </span>
      ))}
    </pre>
  );
}
