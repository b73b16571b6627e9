/** Asking models, and what becomes of their answers. */
import { signal } from "@preact/signals";
import { ApiError, events, request } from "./api";
import { announcement, changed, current, keep, loadParameters, open, readModels, toast } from "./state";
import * as tree from "./tree";
import { newId, newStep, type Answer, type Conversation, type Step, type TokenLogprob, type Turn } from "./types";

/** Answers that are being written, by their ids. */
export const writing = signal<ReadonlyMap<string, AbortController>>(new Map());

interface Delta {
  content?: string | null;
  reasoning_content?: string | null;
  tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[];
}
interface Chunk {
  error?: { message: string };
  choices?: {
    delta: Delta;
    finish_reason: string | null;
    logprobs?: { content?: { token: string; logprob: number; top_logprobs?: { token: string; logprob: number }[] }[] } | null;
  }[];
  usage?: Step["usage"] | null;
}

/** The fields of a request that follow from the settings. Throws an Error that names what is wrong in them. */
export function fields(settings: Conversation["settings"]): Record<string, unknown> {
  const body: Record<string, unknown> = { ...settings.parameters };
  const { format } = settings;
  if (format.kind === "json_schema")
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema: parsed(format.schema, "schema") } };
  else if (format.kind === "json_object") body.response_format = { type: "json_object" };
  else if (format.kind === "regex") body.response_format = { type: "regex", regex: format.regex };
  else if (format.kind === "choice")
    body.response_format = { type: "choice", choice: format.choice.split("\n").filter((line) => line.trim()) };
  else if (format.kind === "grammar") body.grammar = format.grammar;
  if (settings.tools.trim()) {
    const tools = parsed(settings.tools, "list of tools");
    body.tools = Array.isArray(tools) ? tools : [tools];
    if (settings.toolChoice !== "auto") body.tool_choice = settings.toolChoice;
  }
  if (settings.probabilities) {
    body.logprobs = true;
    body.top_logprobs ??= 5;
  }
  return body;
}

function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`The ${what} in the settings is not JSON: ${(error as Error).message}`);
  }
}

export function send(text: string): boolean {
  const conversation = current.value;
  if (!conversation.models[0]) {
    toast.value = { text: "Choose a model first.", bad: true };
    return false;
  }
  const last = tree.path(conversation).at(-1);
  if (!begin(conversation, text, last?.id ?? null, last ? tree.shownAnswers(last) : "")) return false;
  return true;
}

/** Ask again with another text, beside the first one. */
export function edit(turn: Turn, text: string): boolean {
  return begin(current.value, text, turn.parent, turn.after);
}

function begin(conversation: Conversation, text: string, parent: string | null, after: string): boolean {
  if (!check(conversation)) return false;
  const lanes = conversation.models.map((): Answer[] => []);
  const turn: Turn = { id: newId(), parent, after, text, created: Date.now(), lanes, active: lanes.map(() => 0) };
  if (!Object.keys(conversation.turns).length) conversation.title = titleOf(text);
  conversation.turns[turn.id] = turn;
  tree.choose(conversation, turn);
  conversation.models.forEach((_, lane) => answer(conversation, turn, lane));
  keep(conversation);
  return true;
}

function check(conversation: Conversation): boolean {
  try {
    fields(conversation.settings);
    return true;
  } catch (error) {
    toast.value = { text: (error as Error).message, bad: true };
    return false;
  }
}

function titleOf(text: string): string {
  const line = text.trim().split("\n")[0]!.replace(/^[#>*\s]+/, "") || "Chat";
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line;
}

/** Another answer to a turn, beside those that it has. */
export function regenerate(turn: Turn, lane: number): void {
  if (check(current.value)) answer(current.value, turn, lane);
}

function answer(conversation: Conversation, turn: Turn, lane: number): void {
  const model = conversation.models[lane] ?? conversation.models[0]!;
  const json = ["json_object", "json_schema"].includes(conversation.settings.format.kind);
  const made: Answer = { id: newId(), model, created: Date.now(), steps: [], json };
  // The messages come from the tree as it was before this answer: what follows another answer isn't part of it.
  turn.lanes[lane] ??= [];
  turn.lanes[lane]!.push(made);
  turn.active[lane] = turn.lanes[lane]!.length - 1;
  void step(conversation, turn, lane, made);
}

/** Go on after tool calls have their results. */
export function goOn(turn: Turn, lane: number, made: Answer): void {
  keep(current.value);
  void step(current.value, turn, lane, made);
}

export function stop(id: string): void {
  writing.value.get(id)?.abort();
}
export function stopAll(): void {
  for (const abort of writing.value.values()) abort.abort();
}

async function step(conversation: Conversation, turn: Turn, lane: number, made: Answer): Promise<void> {
  const messages = tree.messagesFor(conversation, turn, lane, made);
  const written = newStep();
  made.steps.push(written);
  const abort = new AbortController();
  writing.value = new Map([...writing.value, [made.id, abort]]);
  announcement.value = `${made.model} is answering.`;
  const begun = performance.now();
  const saving = setInterval(() => keep(conversation, false), 2000);
  changed();
  try {
    const body = {
      ...fields(conversation.settings),
      model: made.model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    };
    const response = await request("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal: abort.signal });
    written.ignored = response.headers.get("llamaforge-ignored") ?? undefined;
    for await (const event of events(response)) {
      if (event.data === "[DONE]") break;
      take(written, JSON.parse(event.data) as Chunk, begun);
      changed();
    }
    if (!written.finish && !written.error) written.error = "The connection ended before the answer did.";
  } catch (error) {
    if (abort.signal.aborted) written.finish = "stopped";
    else written.error = error instanceof ApiError ? error.message : `The answer broke off: ${(error as Error).message}`;
  } finally {
    clearInterval(saving);
    written.took = performance.now() - begun;
    const left = new Map(writing.value);
    left.delete(made.id);
    writing.value = left;
    keep(conversation);
    changed();
    announcement.value = summary(made, written);
    void readModels().then(() => loadParameters(made.model));
  }
}

function summary(made: Answer, written: Step): string {
  if (written.error) return `${made.model} could not answer: ${written.error}`;
  if (written.calls.length) return `${made.model} calls ${written.calls.map((call) => call.name).join(", ")}.`;
  if (written.finish === "stopped") return "Stopped.";
  return `${made.model} says: ${written.text}`;
}

function take(written: Step, chunk: Chunk, begun: number): void {
  if (chunk.error) {
    written.error = chunk.error.message;
    return;
  }
  if (chunk.usage) written.usage = chunk.usage;
  for (const choice of chunk.choices ?? []) {
    const { delta } = choice;
    const now = performance.now() - begun;
    if (delta.content || delta.reasoning_content || delta.tool_calls) written.first ??= now;
    if (written.reasoning && (delta.content || delta.tool_calls)) written.thought ??= now - (written.first ?? now);
    written.text += delta.content ?? "";
    written.reasoning += delta.reasoning_content ?? "";
    for (const piece of delta.tool_calls ?? []) {
      const call = (written.calls[piece.index] ??= { id: piece.id ?? newId(), name: "", arguments: "" });
      call.name += piece.function?.name ?? "";
      call.arguments += piece.function?.arguments ?? "";
    }
    const logprobs: TokenLogprob[] | undefined = choice.logprobs?.content?.map((each) => ({
      token: each.token,
      logprob: each.logprob,
      top: each.top_logprobs?.map(({ token, logprob }) => ({ token, logprob })) ?? [],
    }));
    if (logprobs) written.logprobs.push(...logprobs);
    if (choice.finish_reason) written.finish = choice.finish_reason;
  }
}

export function branchOff(turn: Turn): void {
  const copy = tree.branchOff(current.value, turn, newId());
  copy.title = `${copy.title} (branch)`;
  keep(copy);
  open(copy);
  toast.value = { text: "This is a copy up to that answer. The first conversation is unchanged." };
}

export function compare(on: boolean, other: string | undefined): void {
  const conversation = current.value;
  conversation.models = on ? [conversation.models[0]!, other ?? conversation.models[0]!] : conversation.models.slice(0, 1);
  keep(conversation, false);
  changed();
  if (on && other) void loadParameters(other);
}
