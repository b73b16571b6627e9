/** What the page shows, and what is done with conversations. */
import { batch, computed, effect, signal } from "@preact/signals";
import { ApiError, json } from "./api";
import * as storage from "./storage";
import { newId, newSettings, type Conversation, type Model, type ParameterSchema, type Parameters } from "./types";

/** Conversations, the latest first. The one that is shown need not be among them until something is said in it. */
export const conversations = signal<Conversation[]>([]);
export const current = signal<Conversation>(blank());
/**
 * Counts changes within the conversation: its objects are changed in place while answers stream. Every component that
 * shows a part of it reads this, for signals leave alone a component whose properties are the same objects as before.
 */
export const changes = signal(0);
export const models = signal<Model[] | null>(null);
export const modelsError = signal("");
export const parameters = signal<Record<string, Parameters>>({});
/** What a screen reader is told. */
export const announcement = signal("");
export const toast = signal<{ text: string; undo?: () => void; bad?: boolean } | null>(null);
export const dialog = signal<"models" | "keys" | "data" | null>(null);
export const drawer = signal(false);
export const panel = signal(localStorage.getItem("llamaforge-panel") === "open" && matchMedia("(min-width: 75rem)").matches);
export type Theme = "auto" | "light" | "dark";
export const theme = signal<Theme>((localStorage.getItem("llamaforge-theme") as Theme | null) ?? "auto");

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  localStorage.setItem("llamaforge-theme", theme.value);
});
effect(() => localStorage.setItem("llamaforge-panel", panel.value ? "open" : "closed"));

export const chatModels = computed(() =>
  (models.value ?? []).filter(({ capabilities }) => !capabilities?.tasks?.length || capabilities.tasks.includes("generate")),
);
export const modelOf = (name: string | undefined): Model | undefined => models.value?.find((model) => model.id === name);

export function blank(): Conversation {
  const now = Date.now();
  return {
    id: newId(),
    title: "New chat",
    created: now,
    updated: now,
    models: lastModels(),
    settings: defaultSettings(),
    turns: {},
    chosen: {},
  };
}

function lastModels(): string[] {
  const kept = localStorage.getItem("llamaforge-model");
  return kept ? [kept] : [];
}

function defaultSettings(): Conversation["settings"] {
  try {
    return { ...newSettings(), ...JSON.parse(localStorage.getItem("llamaforge-settings") ?? "{}") };
  } catch {
    return newSettings();
  }
}

export function keepAsDefault(): void {
  localStorage.setItem("llamaforge-settings", JSON.stringify(current.value.settings));
  toast.value = { text: "New chats start with these settings." };
}

/** Say that the conversation has changed; it is shown with the next frame, and kept where it was begun. */
let frame = 0;
export function changed(): void {
  if (!frame)
    frame = requestAnimationFrame(() => {
      frame = 0;
      changes.value++;
    });
}

export function keep(conversation: Conversation, touched = true): void {
  if (!Object.keys(conversation.turns).length) return;
  if (touched) conversation.updated = Date.now();
  conversations.value = [conversation, ...conversations.value.filter((each) => each.id !== conversation.id)].sort(
    (a, b) => b.updated - a.updated,
  );
  void storage.save(conversation);
}

/** Change the settings of the conversation that is shown. */
export function change(edit: (settings: Conversation["settings"]) => void): void {
  edit(current.value.settings);
  keep(current.value, false);
  changes.value++;
}

export function setModel(lane: number, name: string): void {
  current.value.models[lane] = name;
  if (lane === 0) localStorage.setItem("llamaforge-model", name);
  keep(current.value, false);
  changes.value++;
  void loadParameters(name);
}

export function open(conversation: Conversation): void {
  batch(() => {
    current.value = conversation;
    drawer.value = false;
    changes.value++;
  });
  conversation.models.forEach((model) => void loadParameters(model));
}

/** Whether anything is set that a new chat hasn't. */
export function isSet({ system, parameters, format, tools, probabilities }: Conversation["settings"]): boolean {
  return !!system.trim() || Object.keys(parameters).length > 0 || format.kind !== "text" || !!tools.trim() || probabilities;
}

export function startNew(): void {
  open(blank());
  if (!current.value.models.length) chooseFirst();
  document.querySelector<HTMLTextAreaElement>("#composer")?.focus();
}

export function removeConversation(conversation: Conversation): void {
  conversations.value = conversations.value.filter((each) => each.id !== conversation.id);
  void storage.remove(conversation.id);
  if (current.value.id === conversation.id) startNew();
  toast.value = { text: `Deleted “${conversation.title}”.`, undo: () => keep(conversation, false) };
}

export function rename(conversation: Conversation, title: string): void {
  conversation.title = title.trim() || conversation.title;
  keep(conversation, false);
  changes.value++;
}

/** Whether the browser's database has been read. */
export const ready = signal(false);

export async function readConversations(): Promise<void> {
  const stored = (await storage.all()).sort((a, b) => b.updated - a.updated);
  // What is shown may be streaming: it stays the object that it is.
  conversations.value = stored.map((each) => (each.id === current.value.id ? current.value : each));
  if (!ready.value) openAddressed();
  ready.value = true;
}

/** Show the conversation that the page's address names, or a new one. */
export function openAddressed(): void {
  const named = conversations.value.find((each) => `#${each.id}` === location.hash);
  if (named) open(named);
  else if (Object.keys(current.value.turns).length) startNew();
}

function chooseFirst(): void {
  const known = chatModels.value;
  const kept = current.value.models[0];
  if (!known.length || known.some((model) => model.id === kept)) return;
  const first = known.find((model) => model.state === "loaded") ?? known[0]!;
  if (!Object.keys(current.value.turns).length) setModel(0, first.id);
}

/** Counts what was asked and told of the models: an answer that comes after newer news is old. */
let news = 0;

/** What the server last said of all models. */
export function setModels(listed: Model[]): void {
  news += 1;
  models.value = listed;
  modelsError.value = "";
  chooseFirst();
}

async function readFrom(path: string): Promise<void> {
  const asked = ++news;
  const { data } = await json<{ data: Model[] }>(path);
  if (asked === news) setModels(data);
}

export async function readModels(): Promise<void> {
  try {
    await readFrom("v1/models");
  } catch (error) {
    modelsError.value = (error as Error).message;
  }
}

let administers = true;

/** Read them again while one is waited for: with the progress of loads, where the server tells us. */
export async function followModels(): Promise<void> {
  if (administers)
    try {
      await readFrom("admin/models");
      return;
    } catch (error) {
      administers = !(error instanceof ApiError && error.status === 403);
    }
  await readModels();
}

interface Described {
  schema: { $defs: { Parameters: { properties: Record<string, ParameterSchema> } } };
  values: Record<string, unknown>;
}

const asked = new Set<string>();

/** Read what a model understands. */
export async function loadParameters(name: string): Promise<void> {
  if (!name || asked.has(name)) return;
  asked.add(name);
  try {
    const { schema, values } = await json<Described>(`v1/parameters/${encodeURIComponent(name)}`);
    const schemas = Object.entries(schema.$defs.Parameters.properties).map(([key, each]) => {
      const kinds = (each.anyOf ?? [each]).filter((kind) => kind.type !== "null");
      return [key, kinds.length === 1 ? kinds[0]! : { ...each, anyOf: kinds }];
    });
    parameters.value = { ...parameters.value, [name]: { schemas: Object.fromEntries(schemas), values } };
  } catch {
    // the form says that it isn't there
  } finally {
    asked.delete(name);
  }
}

export function download(name: string, text: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
