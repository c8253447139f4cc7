// Markdown of agents as HTML that loads nothing, runs nothing and looks like nothing else on the page.

import createPurifier from "dompurify";
import { Lexer, Marked } from "marked";

// What takes marked longer than what it grows by is shown as plain text: who writes it may be told what to write.
const LONG = 20_000; // characters
const DEEP = 20; // lists and quotations, one in the other
const MARKS = 300; // of what stands in a line of text or several: emphasis takes the cube of them
const WORD = /\S{1000}/; // may be an address, from each of its letters on
const MARK = /[*_~`[\](<&@]|:\/\/|www\./g;

const escaped = (text) =>
  text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

class Bounded extends Lexer {
  depth = 0;

  blockTokens(...given) {
    if (this.depth >= DEEP) throw new RangeError("one in the other");
    this.depth += 1;
    const tokens = super.blockTokens(...given);
    this.depth -= 1;
    return tokens;
  }
  inlineTokens(src, tokens = []) {
    if ((src.match(MARK) ?? []).length <= MARKS && !WORD.test(src)) return super.inlineTokens(src, tokens);
    tokens.push({ type: "text", raw: src, text: src, escaped: false });
    return tokens;
  }
}

const markdown = new Marked({
  gfm: true,
  tokenizer: {
    // Rows are filled up to the width of the head: no more cells than there are characters.
    table(src) {
      const [raw, , align] = this.rules.block.table.exec(src) ?? [""];
      const cells = raw.trimEnd().split("\n").length * (align?.match(/-+/g).length ?? 0);
      return cells > raw.length ? undefined : false; // false: as marked has it
    },
  },
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

const lex = (text) => new Bounded(markdown.defaults).lex(text);
const plain = (text) => text && `<pre>${escaped(text)}</pre>`;

/** HTML of a text in Markdown. */
export function html(text) {
  const end = text.length > LONG ? text.lastIndexOf("\n", LONG) + 1 : text.length;
  let parsed;
  try {
    parsed = markdown.parser(lex(text.slice(0, end))) + plain(text.slice(end));
  } catch {
    parsed = plain(text); // such as a thousand quotations, one in the other
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
  const rest = text.slice(at);
  if (rest.length > LONG) return { text, settled, at, last: rest };
  let tokens;
  try {
    tokens = lex(rest);
  } catch {
    return { text, settled, at, last: rest };
  }
  while (tokens.length && tokens.at(-1).type === "space") tokens.pop(); // a list goes on after one
  const done = tokens.slice(0, -1);
  at += done.reduce((sum, { raw }) => sum + raw.length, 0);
  const fresh = done.filter(({ type }) => type !== "space").map(({ raw }) => raw);
  return { text, settled: fresh.length ? [...settled, ...fresh] : settled, at, last: text.slice(at) };
}
