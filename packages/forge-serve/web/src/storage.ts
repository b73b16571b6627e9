/** Conversations in the browser's own database. Nothing of them reaches the server but what a model is asked. */
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import { newSettings, type Conversation, type Turn } from "./types";

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation };
}

let opened: Promise<IDBPDatabase<Schema>> | undefined;
/** Where the browser keeps nothing (some private windows), conversations live as long as the page. */
const memory = new Map<string, Conversation>();

function database(): Promise<IDBPDatabase<Schema>> {
  opened ??= openDB<Schema>("llamaforge", 1, {
    upgrade: (db) => void db.createObjectStore("conversations", { keyPath: "id" }),
  });
  return opened;
}

/** Other tabs of this page. */
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("llamaforge") : undefined;
export function onOtherTab(changed: () => void): void {
  tabs?.addEventListener("message", changed);
}

export async function all(): Promise<Conversation[]> {
  try {
    return await (await database()).getAll("conversations");
  } catch {
    return [...memory.values()];
  }
}

export async function save(conversation: Conversation): Promise<void> {
  try {
    await (await database()).put("conversations", conversation);
  } catch {
    memory.set(conversation.id, structuredClone(conversation));
  }
  tabs?.postMessage("changed");
}

export async function remove(id: string): Promise<void> {
  memory.delete(id);
  try {
    await (await database()).delete("conversations", id);
  } catch {
    // it was never there
  }
  tabs?.postMessage("changed");
}

const FORMAT = "llamaforge-conversations";

export function exported(conversations: Conversation[]): string {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** The conversations in an exported file. Throws an Error that says what is wrong with it. */
export function imported(text: string): Conversation[] {
  let read: { format?: unknown; version?: unknown; conversations?: unknown };
  try {
    read = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON.");
  }
  if (read?.format !== FORMAT || !Array.isArray(read.conversations))
    throw new Error("This file holds no conversations of LlamaForge.");
  if (read.version !== 1) throw new Error("This file comes from a newer version of this page.");
  return read.conversations.map((each, place) => {
    if (!sound(each)) throw new Error(`Conversation ${place + 1} of this file is damaged.`);
    const settings = newSettings();
    return {
      ...each,
      settings: { ...settings, ...each.settings, format: { ...settings.format, ...each.settings?.format } },
      chosen: each.chosen ?? {},
    };
  });
}

function sound(value: unknown): value is Conversation {
  const each = value as Conversation;
  return (
    typeof each?.id === "string" &&
    typeof each.title === "string" &&
    typeof each.created === "number" &&
    typeof each.updated === "number" &&
    Array.isArray(each.models) &&
    each.models.every((model) => typeof model === "string") &&
    typeof each.turns === "object" &&
    each.turns !== null &&
    Object.entries(each.turns).every(([id, turn]) => turn?.id === id && soundTurn(turn))
  );
}

function soundTurn(turn: Turn): boolean {
  return (
    typeof turn.text === "string" &&
    typeof turn.created === "number" &&
    typeof turn.after === "string" &&
    Array.isArray(turn.active) &&
    Array.isArray(turn.lanes) &&
    turn.lanes.every(
      (lane) =>
        Array.isArray(lane) &&
        lane.every(
          (answer) =>
            typeof answer?.id === "string" &&
            typeof answer.model === "string" &&
            Array.isArray(answer.steps) &&
            answer.steps.every(
              (step) =>
                typeof step?.text === "string" &&
                typeof step.reasoning === "string" &&
                Array.isArray(step.calls) &&
                Array.isArray(step.logprobs) &&
                typeof step.results === "object",
            ),
        ),
    )
  );
}

/** A conversation as a text to read: what is shown of it. */
export function asMarkdown(conversation: Conversation, turns: Turn[]): string {
  const parts = [`# ${conversation.title}`];
  if (conversation.settings.system) parts.push(`> ${conversation.settings.system.replaceAll("\n", "\n> ")}`);
  for (const turn of turns) {
    parts.push("## You", turn.text);
    turn.lanes.forEach((answers, lane) => {
      const answer = answers[turn.active[lane] ?? 0];
      if (!answer) return;
      parts.push(`## ${answer.model}`);
      for (const step of answer.steps) {
        if (step.text) parts.push(step.text);
        for (const call of step.calls)
          parts.push(`\`${call.name}(${call.arguments})\`` + (call.id in step.results ? `\n→ ${step.results[call.id]}` : ""));
      }
    });
  }
  return parts.join("\n\n") + "\n";
}
