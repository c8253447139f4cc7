// A unified diff, a line each, with the colours of diffs; the + and − stay, for those who see no colours.

const KINDS = { "+": "added", "-": "removed", "@": "where" };

// Only what is before the first hunk is a header: behind that, `---` is a comment that was taken out.
function kind(line, header) {
  return header ? "where" : (KINDS[line[0]] ?? "same");
}

export function Diff({ text }) {
  const lines = text.replace(/\n$/, "").split("\n");
  const hunk = lines.findIndex((line) => line.startsWith("@@"));
  return (
    <pre class="pi-v-diff" tabIndex={0} role="group" aria-label="What was changed">
      {lines.map((line, at) => (
        <span class={`pi-v-diff-${kind(line, at < hunk)}`} key={at}>
          {line}
          {"\n"}
        </span>
      ))}
    </pre>
  );
}
