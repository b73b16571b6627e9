import { useEffect, useRef, useState } from "preact/hooks";
import { apiKey, keyWanted, setKey } from "../api";
import { conversations, current, dialog, download, keep, readModels, toast } from "../state";
import * as storage from "../storage";
import * as tree from "../tree";
import { Icon } from "./icons";

interface Props {
  title: string;
  onClose: () => void;
  children: preact.ComponentChildren;
  wide?: boolean;
}

export function Dialog({ title, onClose, children, wide }: Props) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    box.current?.showModal();
    return () => before?.focus();
  }, []);
  return (
    <dialog
      ref={box} class={wide ? "wide" : ""} aria-labelledby="dialog-title"
      onCancel={(event) => { event.preventDefault(); onClose(); }}
      onClick={(event) => event.target === box.current && onClose()}
    >
      <div class="dialog-inside">
        <header>
          <h2 id="dialog-title">{title}</h2>
          <button class="icon-button" aria-label="Close" onClick={onClose}><Icon name="close" /></button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

const close = (): void => void (dialog.value = null);

export function KeyDialog() {
  const [key, type] = useState("");
  const [remember, setRemember] = useState(false);
  return (
    <Dialog title="This server asks for a key" onClose={() => (keyWanted.value = null)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setKey(key.trim(), remember);
          void readModels();
        }}
      >
        {keyWanted.value && <p class="wrong" role="alert">{keyWanted.value}</p>}
        <label class="field">
          <span>API key</span>
          <input type="password" autocomplete="off" value={key} onInput={(event) => type(event.currentTarget.value)} autofocus />
        </label>
        <label class="tick">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.currentTarget.checked)} />
          Keep it in this browser; otherwise it is forgotten with this tab
        </label>
        <div class="buttons"><button class="button primary" disabled={!key.trim()}>Use this key</button></div>
      </form>
    </Dialog>
  );
}

const COMMAND = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
const KEYS: [string[], string][] = [
  [["Enter"], "Send the message"],
  [["Shift", "Enter"], "New line"],
  [["Esc"], "Stop the answer"],
  [["↑"], "Edit the last question, in the empty message box"],
  [["/"], "To the message box"],
  [[COMMAND, "K"], "Search conversations"],
  [[COMMAND, "Shift", "O"], "New chat"],
  [["Alt", "↑"], "The conversation above in the list; ↓: the one below"],
  [[COMMAND, ","], "Open or close the settings"],
  [[COMMAND, "Shift", "M"], "Models"],
  [["←"], "Among tokens with probabilities: the one before; →: the next"],
  [["?"], "This list"],
];

export function KeysDialog() {
  return (
    <Dialog title="Keyboard" onClose={close}>
      <dl class="keys">
        {KEYS.map(([keys, what]) => (
          <div key={what}><dt>{keys.map((key) => <kbd key={key}>{key}</kbd>)}</dt><dd>{what}</dd></div>
        ))}
      </dl>
      {apiKey.value && (
        <div class="buttons"><button class="button quiet" onClick={() => { setKey("", false); close(); }}>Forget the API key</button></div>
      )}
    </Dialog>
  );
}

export function DataDialog() {
  const [problem, setProblem] = useState("");
  const all = conversations.value;
  const name = (title: string): string => title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase() || "conversation";
  const shown = Object.keys(current.value.turns).length > 0;
  const read = async (file: File | undefined): Promise<void> => {
    if (!file) return;
    try {
      const found = storage.imported(await file.text());
      let taken = 0;
      for (const each of found) {
        const own = conversations.value.find((other) => other.id === each.id);
        if (own && own.updated >= each.updated) continue;
        keep(each, false);
        taken++;
      }
      toast.value = { text: `${taken} of ${found.length} conversations imported${taken < found.length ? "; the others are here already" : ""}.` };
      close();
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <Dialog title="Export and import" onClose={close}>
      <p>Conversations are kept in this browser only. A file keeps them elsewhere, or takes them to another one.</p>
      <div class="choices">
        <button class="button" disabled={!all.length} onClick={() => download("llamaforge-conversations.json", storage.exported(all), "application/json")}>
          Export all ({all.length})
        </button>
        <button class="button" disabled={!shown} onClick={() => download(`${name(current.value.title)}.json`, storage.exported([current.value]), "application/json")}>
          Export this one
        </button>
        <button class="button" disabled={!shown} onClick={() => download(`${name(current.value.title)}.md`, storage.asMarkdown(current.value, tree.path(current.value)), "text/markdown")}>
          This one as Markdown
        </button>
      </div>
      <label class="field">
        <span>Import a file of this page</span>
        <input type="file" accept=".json,application/json" onChange={(event) => void read(event.currentTarget.files?.[0])} />
      </label>
      {problem && <p class="wrong" role="alert">{problem}</p>}
    </Dialog>
  );
}
