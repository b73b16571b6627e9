import { useEffect, useRef, useState } from "preact/hooks";
import { send, stopAll, writing } from "../chat";
import { changes, current, startNew } from "../state";
import * as tree from "../tree";
import { Icon } from "./icons";

/** What was typed and not sent yet, by conversation. */
const drafts = new Map<string, string>();

export function grow(box: HTMLTextAreaElement): void {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
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
  const submit = (): void => {
    if (busy || !text.trim()) return;
    if (send(text.trim())) type("");
  };
  return (
    <form class="composer" onSubmit={(event) => { event.preventDefault(); submit(); }}>
      <div class="composer-box">
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
