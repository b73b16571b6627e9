import { useEffect, useRef } from "preact/hooks";
import { keyWanted } from "../api";
import { stopAll, writing } from "../chat";
import {
  announcement, changes, conversations, current, dialog, drawer, loadParameters, models, open, openAddressed, panel, readConversations,
  readModels, ready, startNew, toast,
} from "../state";
import { onOtherTab } from "../storage";
import { Chat } from "./Chat";
import { Composer } from "./Composer";
import { DataDialog, KeyDialog, KeysDialog } from "./dialogs";
import { Header } from "./Header";
import { Icon } from "./icons";
import { ModelsDialog } from "./ModelsDialog";
import { SettingsPanel } from "./SettingsPanel";
import { Sidebar } from "./Sidebar";
import type { Conversation } from "../types";

export function App() {
  useEffect(() => {
    performance.mark("interactive"); // benchmarks/page.py looks at it
    void readConversations();
    void readModels().then(() => current.value.models.forEach((model) => void loadParameters(model)));
    onOtherTab(() => void readConversations());
    const timer = setInterval(() => {
      if (document.visibilityState === "visible" && models.value) void readModels();
    }, 20_000);
    return () => clearInterval(timer);
  }, []);
  changes.value;
  useEffect(() => {
    document.title = Object.keys(current.value.turns).length ? `${current.value.title} · LlamaForge` : "LlamaForge";
  }, [current.value, current.value.title]);
  useAddress();
  useEffect(() => {
    addEventListener("keydown", shortcut);
    return () => removeEventListener("keydown", shortcut);
  }, []);

  return (
    <div class={`app ${drawer.value ? "with-drawer" : ""} ${panel.value ? "with-panel" : ""}`}>
      <a class="skip" href="#composer" onClick={(event) => {
        event.preventDefault();
        document.getElementById("composer")?.focus();
      }}>Skip to the message box</a>
      <Sidebar />
      {drawer.value && <div class="shade" onClick={() => (drawer.value = false)} />}
      <main class="main">
        <Header />
        <Chat />
        <Composer />
      </main>
      {panel.value && <SettingsPanel />}
      {dialog.value === "models" && <ModelsDialog />}
      {dialog.value === "keys" && <KeysDialog />}
      {dialog.value === "data" && <DataDialog />}
      {keyWanted.value !== null && <KeyDialog />}
      <Toast />
      <div class="hidden" role="status" aria-live="polite">{announcement.value}</div>
    </div>
  );
}

/** The address names the conversation: it is there again after a reload, and the browser's back button works. */
function useAddress(): void {
  const shown = useRef(current.value.id);
  const wanted = addressOf(current.value);
  useEffect(() => {
    if (!ready.value) return;
    // What is shown by now: an effect runs later than its rendering, and the back button may have come in between.
    const { id } = current.value;
    const address = addressOf(current.value);
    const place = address || location.pathname + location.search;
    if (location.hash !== address) history[shown.current === id ? "replaceState" : "pushState"](null, "", place);
    shown.current = id;
  }, [wanted, ready.value]);
  useEffect(() => {
    addEventListener("popstate", openAddressed);
    return () => removeEventListener("popstate", openAddressed);
  }, []);
}

function addressOf({ id, turns }: Conversation): string {
  return Object.keys(turns).length ? `#${id}` : "";
}

function Toast() {
  const shown = toast.value;
  useEffect(() => {
    if (!shown) return;
    const timer = setTimeout(() => toast.value === shown && (toast.value = null), 8000);
    return () => clearTimeout(timer);
  }, [shown]);
  return (
    <div class="toasts" role={shown?.bad ? "alert" : "status"}>
      {shown && (
        <div class={`toast ${shown.bad ? "bad" : ""}`}>
          <span>{shown.text}</span>
          {shown.undo && (
            <button class="link" onClick={() => { shown.undo!(); toast.value = null; }}>Undo</button>
          )}
          <button class="icon-button" aria-label="Dismiss" onClick={() => (toast.value = null)}><Icon name="close" /></button>
        </div>
      )}
    </div>
  );
}

function shortcut(event: KeyboardEvent): void {
  const command = event.ctrlKey || event.metaKey;
  const typing = (event.target as HTMLElement).closest?.("input, textarea, select, [contenteditable]");
  const act = (what: () => void): void => {
    event.preventDefault();
    what();
  };
  if (document.querySelector("dialog[open]")) return;
  if (command && event.shiftKey && event.code === "KeyO") act(startNew);
  else if (command && !event.shiftKey && event.code === "KeyK")
    act(() => {
      drawer.value = true;
      requestAnimationFrame(() => document.getElementById("search")?.focus());
    });
  else if (command && event.code === "Comma") act(() => (panel.value = !panel.value));
  else if (command && event.shiftKey && event.code === "KeyM") act(() => (dialog.value = "models"));
  else if (event.altKey && (event.code === "ArrowUp" || event.code === "ArrowDown"))
    act(() => {
      const place = conversations.value.findIndex((each) => each.id === current.value.id);
      const next = conversations.value[place + (event.code === "ArrowUp" ? -1 : 1)];
      if (next) open(next);
    });
  else if (event.key === "Escape") {
    if (writing.value.size) act(stopAll);
    else if (drawer.value) act(() => (drawer.value = false));
  } else if (event.key === "?" && !typing) act(() => (dialog.value = "keys"));
  else if (event.key === "/" && !typing) act(() => document.getElementById("composer")?.focus());
}
