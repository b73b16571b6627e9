import { Component } from "preact";
import { useEffect, useState } from "preact/hooks";
import { blocks, highlighted, loadMath, missesMath } from "../markdown";
import { Icon } from "./icons";

/** Markdown, block by block: while a text grows, what stands already is left alone. */
export class Markdown extends Component<{ text: string; writing?: boolean }> {
  override shouldComponentUpdate(next: { text: string; writing?: boolean }): boolean {
    return next.text !== this.props.text || next.writing !== this.props.writing;
  }
  override render() {
    const found = blocks(this.props.text);
    return (
      <div class="markdown">
        {found.map((block, place) =>
          block.code ? (
            <Code key={`c${place}`} {...block.code} writing={!!this.props.writing && place === found.length - 1} />
          ) : (
            <Html key={`h${place}`} raw={block.raw} html={block.html} />
          ),
        )}
      </div>
    );
  }
}

class Html extends Component<{ raw: string; html: () => string }> {
  override shouldComponentUpdate(next: { raw: string }): boolean {
    return next.raw !== this.props.raw;
  }
  override render() {
    const __html = this.props.html();
    if (missesMath()) void loadMath().then(() => this.forceUpdate());
    return <div dangerouslySetInnerHTML={{ __html }} />;
  }
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  return (
    <button
      class="icon-button"
      aria-label={done ? "Copied" : label}
      title={label}
      onClick={() => {
        void copy(text).then(() => {
          setDone(true);
          setTimeout(() => setDone(false), 1500);
        });
      }}
    >
      <Icon name={done ? "check" : "copy"} />
    </button>
  );
}

async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Over plain HTTP from another machine, browsers have no clipboard for pages.
  const box = Object.assign(document.createElement("textarea"), { value: text });
  (document.querySelector("dialog[open]") ?? document.body).append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
}

export function Code({ text, language, closed, writing }: { text: string; language: string; closed: boolean; writing: boolean }) {
  const [html, setHtml] = useState<{ of: string; html: string } | null>(null);
  const ready = closed || !writing;
  useEffect(() => {
    let here = true;
    if (ready && language)
      void highlighted(text, language).then((found) => here && found !== null && setHtml({ of: text, html: found }));
    return () => void (here = false);
  }, [text, language, ready]);
  return (
    <figure class="code">
      <figcaption>
        <span>{language || "text"}</span>
        <CopyButton text={text} label="Copy the code" />
      </figcaption>
      <pre tabIndex={0} aria-label={language ? `Code in ${language}` : "Code"}>
        {html?.of === text ? <code key="marked" dangerouslySetInnerHTML={{ __html: html.html }} /> : <code key="plain">{text}</code>}
      </pre>
    </figure>
  );
}
