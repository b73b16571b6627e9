/** Markdown to safe HTML. Answers are untrusted text: no HTML of theirs, no style, no picture that would call elsewhere. */
import DOMPurify, { type Config } from "dompurify";
import { Marked, type Token, type TokensList } from "marked";

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const marked = new Marked({
  gfm: true,
  breaks: false,
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>$/i.test(text.trim()) ? "<br>" : escape(text)),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
});

const CLEAN: Config = {
  USE_PROFILES: { html: true },
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
