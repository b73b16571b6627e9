import { useState } from "preact/hooks";
import {
  changes, conversations, current, dialog, drawer, open, removeConversation, rename, startNew, theme, type Theme,
} from "../state";
import { writing } from "../chat";
import type { Conversation } from "../types";
import { Icon, Logo } from "./icons";

const DAY = 86_400_000;

function group(updated: number): string {
  const today = new Date().setHours(0, 0, 0, 0);
  if (updated >= today) return "Today";
  if (updated >= today - DAY) return "Yesterday";
  if (updated >= today - 7 * DAY) return "Last seven days";
  return new Date(updated).toLocaleDateString(undefined, { month: "long", year: "numeric" });
}

/** Whether each word stands somewhere in the conversation. */
function matches(conversation: Conversation, words: string[]): boolean {
  if (!words.length) return true;
  const text = [
    conversation.title,
    ...Object.values(conversation.turns).flatMap((turn) => [
      turn.text,
      ...turn.lanes.flat().flatMap((answer) => answer.steps.map((step) => step.text)),
    ]),
  ].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Where the words stand, if not in the title: what is before, the words, and what is after. */
function place(conversation: Conversation, words: string[]): [string, string, string] | null {
  const word = words.find((each) => !conversation.title.toLowerCase().includes(each));
  if (!word) return null;
  for (const turn of Object.values(conversation.turns))
    for (const text of [turn.text, ...turn.lanes.flat().flatMap((answer) => answer.steps.map((step) => step.text))]) {
      const at = text.toLowerCase().indexOf(word);
      if (at < 0) continue;
      const from = Math.max(0, text.lastIndexOf(" ", Math.max(0, at - 12)));
      const end = at + word.length;
      return [(from ? "…" : "") + text.slice(from, at), text.slice(at, end), text.slice(end, end + 60)];
    }
  return null;
}

const THEMES: [Theme, string, "half" | "sun" | "moon"][] = [
  ["auto", "As the system", "half"],
  ["light", "Light", "sun"],
  ["dark", "Dark", "moon"],
];

export function Sidebar() {
  const [sought, seek] = useState("");
  changes.value;
  const words = sought.toLowerCase().split(/\s+/).filter(Boolean);
  const found = conversations.value.filter((each) => matches(each, words));
  const groups = Map.groupBy ? Map.groupBy(found, (each) => group(each.updated)) : new Map([["All", found]]);
  return (
    <nav class="sidebar" aria-label="Conversations">
      <div class="brand">
        <Logo />
        <span class="brand-name">LlamaForge</span>
        <button class="icon-button only-narrow" aria-label="Close the list" onClick={() => (drawer.value = false)}>
          <Icon name="close" />
        </button>
      </div>
      <button class="button new" onClick={startNew}><Icon name="plus" /> New chat</button>
      <label class="search">
        <Icon name="search" />
        <span class="hidden">Search conversations</span>
        <input id="search" type="search" placeholder="Search" value={sought} onInput={(event) => seek(event.currentTarget.value)} />
      </label>
      <div class="list">
        {!found.length && (
          <p class="faint">{sought ? "Nothing found." : "Your conversations appear here. They stay in this browser."}</p>
        )}
        {[...groups].map(([name, each]) => (
          <section key={name}>
            <h2>{name}</h2>
            <ul>{each.map((conversation) => <Entry key={conversation.id} conversation={conversation} words={words} />)}</ul>
          </section>
        ))}
      </div>
      <div class="foot">
        <button class="row" onClick={() => (dialog.value = "models")}><Icon name="cube" /> Models</button>
        <button class="row" onClick={() => (dialog.value = "data")}><Icon name="disk" /> Export and import</button>
        <button class="row" onClick={() => (dialog.value = "keys")}><Icon name="keyboard" /> Keyboard</button>
        <div class="segments" role="group" aria-label="Colours">
          {THEMES.map(([name, label, icon]) => (
            <button key={name} aria-pressed={theme.value === name} aria-label={label} title={label} onClick={() => (theme.value = name)}>
              <Icon name={icon} />
            </button>
          ))}
        </div>
      </div>
    </nav>
  );
}

function Entry({ conversation, words }: { conversation: Conversation; words: string[] }) {
  changes.value;
  const [renaming, setRenaming] = useState(false);
  const shown = current.value.id === conversation.id;
  const hit = place(conversation, words);
  const busy = Object.values(conversation.turns).some((turn) => turn.lanes.flat().some((answer) => writing.value.has(answer.id)));
  if (renaming)
    return (
      <li>
        <input
          class="rename"
          aria-label="Title of the conversation"
          value={conversation.title}
          ref={(input) => input?.focus()}
          onKeyDown={(event) => {
            if (event.key === "Enter") event.currentTarget.blur();
            if (event.key === "Escape") setRenaming(false);
          }}
          onBlur={(event) => {
            rename(conversation, event.currentTarget.value);
            setRenaming(false);
          }}
        />
      </li>
    );
  return (
    <li class={shown ? "entry shown" : "entry"}>
      <button class="title" aria-current={shown ? "page" : undefined} onClick={() => open(conversation)}>
        {busy && <span class="pulse" aria-hidden="true" />}
        {conversation.title}
        {hit && <span class="hit">{hit[0]}<mark>{hit[1]}</mark>{hit[2]}</span>}
      </button>
      <button class="icon-button" aria-label={`Rename “${conversation.title}”`} onClick={() => setRenaming(true)}>
        <Icon name="edit" />
      </button>
      <button class="icon-button" aria-label={`Delete “${conversation.title}”`} onClick={() => removeConversation(conversation)}>
        <Icon name="trash" />
      </button>
    </li>
  );
}
