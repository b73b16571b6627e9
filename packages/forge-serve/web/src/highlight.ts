/** Loaded when the first code appears. */
import hljs from "highlight.js/lib/common";

export function highlight(code: string, language: string): string | null {
  return hljs.getLanguage(language) ? hljs.highlight(code, { language, ignoreIllegals: true }).value : null;
}
