import { useEffect, useRef, useState } from "preact/hooks";
import { send, stopAll, writing } from "../chat";
import { changes, current, startNew, toast } from "../state";
import * as tree from "../tree";
import { Icon } from "./icons";

/** What was typed and not sent yet, by conversation. */
const drafts = new Map<string, string>();

export function grow(box: HTMLTextAreaElement): void {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

const LARGEST = 1_000_000;

/** A text file as it is put into a message; throws an Error where it is none. */
async function quoted(file: File): Promise<string> {
  if (file.size > LARGEST) throw new Error(`“${file.name}” has more than a million bytes.`);
  const text = await file.text();
  if (/[\0\uFFFD]/.test(text)) throw new Error(`“${file.name}” is no text file. Models are given text here.`);
  const ticks = (text.match(/`{3,}/g) ?? []).reduce((longest, each) => (each.length >= longest.length ? `${each}\`` : longest), "```");
  return `${file.name}\n${ticks}${/\.(\w+)$/.exec(file.name)?.[1] ?? ""}\n${text.trimEnd()}\n${ticks}\n`;
}

export function Composer() {
  changes.value;
  const conversation = current.value;
  const [text, setText] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  const shown = tree.path(conversation);
  const busy = shown.some((turn) => turn.lanes.flat().some((answer) => writing.value.has(answer.id)));
  const waits = shown.at(-1)?.lanes.some((_, lane) => {
    const last = tree.shownAnswer(shown.at(-1)!, lane)?.steps.at(-1);
    return last?.calls.some((call) => !(call.id in last.results));
  });

  useEffect(() => setText(drafts.get(conversation.id) ?? ""), [conversation.id]);
  useEffect(() => {
    if (box.current) grow(box.current);
  }, [text]);
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) box.current?.focus();
  }, []);

  const type = (value: string): void => {
    drafts.set(conversation.id, value);
    setText(value);
  };
  const insert = async (files: Iterable<File>): Promise<void> => {
    for (const file of files)
      try {
        const added = await quoted(file);
        const before = drafts.get(conversation.id) ?? "";
        type(before && !before.endsWith("\n") ? `${before}\n\n${added}` : before + added);
      } catch (error) {
        toast.value = { text: (error as Error).message, bad: true };
      }
    box.current?.focus();
  };
  const picker = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // Anywhere in the window: a file that misses the box would otherwise replace the page.
    const over = (event: DragEvent): void => event.preventDefault();
    const drop = (event: DragEvent): void => {
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      void insert(event.dataTransfer.files);
    };
    addEventListener("dragover", over);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("drop", drop);
    };
  }, [conversation.id]);
  const submit = (): void => {
    if (busy || !text.trim()) return;
    if (send(text.trim())) type("");
  };
  return (
    <form class="composer" onSubmit={(event) => { event.preventDefault(); submit(); }}>
      <div class="composer-box">
        <button
          type="button" class="icon-button" aria-label="Insert a text file" title="Insert a text file, or drop one here"
          onClick={() => picker.current!.click()}
        >
          <Icon name="clip" />
        </button>
        <input
          ref={picker} id="file" type="file" multiple hidden aria-label="Text files"
          onChange={(event) => {
            void insert([...(event.currentTarget.files ?? [])]);
            event.currentTarget.value = "";
          }}
        />
        <label class="hidden" for="composer">Message</label>
        <textarea
          id="composer"
          ref={box}
          rows={1}
          placeholder={waits ? "Send the results of the calls above, or say something else" : "Ask anything"}
          value={text}
          onInput={(event) => type(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              submit();
            } else if (event.key === "ArrowUp" && !text && !busy) {
              const edits = document.querySelectorAll<HTMLButtonElement>("button.edit-turn");
              if (edits.length) {
                event.preventDefault();
                edits[edits.length - 1]!.click();
              }
            }
          }}
        />
        {busy ? (
          <button type="button" class="round" aria-label="Stop" title="Stop (Esc)" onClick={stopAll}><Icon name="stop" /></button>
        ) : (
          <button type="submit" class="round" aria-label="Send" title="Send (Enter)" disabled={!text.trim()}><Icon name="send" /></button>
        )}
      </div>
      <p class="hint only-wide">
        <kbd>Enter</kbd> sends, <kbd>Shift</kbd> <kbd>Enter</kbd> begins a new line.{" "}
        <button type="button" class="link" onClick={startNew}>New chat</button>
      </p>
    </form>
  );
}
