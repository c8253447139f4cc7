// Markdown of agents as HTML that loads nothing, runs nothing and looks like nothing else on the page.

import createPurifier from "dompurify";
import { Marked } from "marked";

const escaped = (text) =>
  text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

const markdown = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }) => escaped(text), // shown, not obeyed
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 3); // below the headings of the page
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
  },
});

const ALLOWED = {
  ALLOWED_TAGS: [
    ...["a", "blockquote", "br", "code", "del", "em", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong"],
    ...["table", "tbody", "td", "th", "thead", "tr", "ul"],
  ],
  ALLOWED_ATTR: ["align", "href", "start"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
};

const purifier = createPurifier(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "A" && node.hasAttribute("href")) {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  }
  if (node.nodeName === "PRE") node.setAttribute("tabindex", "0"); // it scrolls
});

/** HTML of a text in Markdown. */
export function html(text) {
  let parsed;
  try {
    parsed = markdown.parse(text);
  } catch {
    parsed = `<pre>${escaped(text)}</pre>`; // such as a thousand quotations, one in the other
  }
  return purifier.sanitize(parsed, ALLOWED);
}

/**
 * The blocks of a text that is still being written. `before` is what this gave for its beginning, or null. Only
 * what may still change is looked at again: {settled: blocks that will not, last: the text of the rest}.
 */
export function blocks(written, before) {
  const text = written.replace(/\r\n?/g, "\n"); // as the lexer has it, or its lengths are others
  const grown = before !== null && text.startsWith(before.text);
  const settled = grown ? before.settled : [];
  let at = grown ? before.at : 0;
  let tokens;
  try {
    tokens = markdown.lexer(text.slice(at));
  } catch {
    return { text, settled, at, last: text.slice(at) };
  }
  while (tokens.length && tokens.at(-1).type === "space") tokens.pop(); // a list goes on after one
  const done = tokens.slice(0, -1);
  at += done.reduce((sum, { raw }) => sum + raw.length, 0);
  const fresh = done.filter(({ type }) => type !== "space").map(({ raw }) => raw);
  return { text, settled: fresh.length ? [...settled, ...fresh] : settled, at, last: text.slice(at) };
}
