/** Markdown to safe HTML. Answers are untrusted text: no HTML of theirs, no style, no picture that would call elsewhere. */
import DOMPurify, { type Config } from "dompurify";
import { Marked, type Token, type Tokens, type TokensList, type TokenizerAndRendererExtension } from "marked";

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

let formula: typeof import("./math").formula | undefined;
let missed = false;

/** Whether the last block had a formula, and {@link loadMath} has to be waited for. */
export const missesMath = (): boolean => missed;

export async function loadMath(): Promise<void> {
  formula = (await import("./math")).formula;
}

/** A formula; its source where it is none, or while what draws it is on its way. */
function math({ raw, text, display }: Tokens.Generic): string {
  missed ||= !formula;
  return formula?.(text, display) ?? `<code>${escape(raw.trim())}</code>`;
}

/** TeX between dollars or in backslashed brackets. A price is none: $5 and $6, $5-$6. */
const MATH: TokenizerAndRendererExtension[] = [
  {
    name: "formulas",
    level: "block",
    start: (source) => /\n {0,3}(?:\$\$|\\\[)/.exec(source)?.index,
    tokenizer(source) {
      const found = /^ {0,3}(?:\$\$((?:(?!\n[ \t]*\n)[^])+?)\$\$|\\\[((?:(?!\n[ \t]*\n)[^])+?)\\\])[ \t]*(?:\n|$)/.exec(source);
      return found ? { type: "formulas", raw: found[0], text: found[1] ?? found[2], display: true } : undefined;
    },
    renderer: math,
  },
  {
    name: "formula",
    level: "inline",
    start: (source) => /\$|\\[([]/.exec(source)?.index,
    tokenizer(source) {
      const found =
        /^(?:\$\$([^$\n]+)\$\$|\\\[([^\n]+?)\\\]|\\\(([^\n]+?)\\\)|\$(?![\s$])((?:\\.|[^$\\\n])+)(?<!\s)\$(?!\w))/.exec(source);
      if (!found) return undefined;
      return { type: "formula", raw: found[0], text: found.slice(1).find(Boolean), display: !!(found[1] ?? found[2]) };
    },
    renderer: math,
  },
];

const marked = new Marked({
  gfm: true,
  breaks: false,
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>$/i.test(text.trim()) ? "<br>" : escape(text)),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

marked.use({ extensions: MATH });

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
});

const CLEAN: Config = {
  USE_PROFILES: { html: true, mathMl: true },
  FORBID_TAGS: ["style", "form", "input", "button", "select", "textarea", "img", "picture", "video", "audio", "source", "dialog"],
  FORBID_ATTR: ["style", "class", "id", "name"],
  ALLOW_DATA_ATTR: false,
  RETURN_TRUSTED_TYPE: true,
};

const CODE: Config = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_TRUSTED_TYPE: true };

export interface Block {
  raw: string;
  /** Source code, and the language that was named. */
  code?: { text: string; language: string; closed: boolean };
  html: () => string;
}

/** The blocks of a text. Only those that have changed need be shown anew while it grows. */
export function blocks(text: string): Block[] {
  const tokens = marked.lexer(text);
  return tokens.filter((token) => token.type !== "space" && token.type !== "def").map((token) => block(token, tokens.links));
}

function block(token: Token, links: TokensList["links"]): Block {
  if (token.type === "code" && token.codeBlockStyle !== "indented") {
    const fence = /^ {0,3}(`{3,}|~{3,})/.exec(token.raw)?.[1] ?? "```";
    const closed = token.raw.trimEnd().length > fence.length && token.raw.trimEnd().endsWith(fence);
    const language = (token.lang ?? "").split(/[\s{:]/)[0].toLowerCase();
    return { raw: token.raw, code: { text: token.text, language, closed }, html: () => "" };
  }
  return {
    raw: token.raw,
    html: () => {
      missed = false;
      const list = Object.assign([token], { links }) as TokensList;
      return DOMPurify.sanitize(marked.parser(list), CLEAN) as unknown as string;
    },
  };
}

/** Code with the names of its parts, once the highlighter has come; null for a language that it doesn't know. */
export async function highlighted(code: string, language: string): Promise<string | null> {
  const { highlight } = await import("./highlight");
  const found = highlight(code, language);
  return found === null ? null : (DOMPurify.sanitize(found, CODE) as unknown as string);
}
