/** Finding one's way in a conversation's tree. */
import type { Answer, Conversation, Turn } from "./types";

const key = (parent: string | null, after: string): string => `${parent ?? ""}|${after}`;

export const shownAnswer = (turn: Turn, lane: number): Answer | undefined => turn.lanes[lane]?.[turn.active[lane] ?? 0];

/** The answers that are shown, as one name. */
export const shownAnswers = (turn: Turn): string => turn.lanes.map((_, lane) => shownAnswer(turn, lane)?.id ?? "").join(",");

/** The turns that stand at the same place as *turn*, the oldest first. */
export function siblings(conversation: Conversation, turn: Turn): Turn[] {
  return following(conversation, turn.parent, turn.after);
}

function following(conversation: Conversation, parent: string | null, after: string): Turn[] {
  return Object.values(conversation.turns)
    .filter((turn) => turn.parent === parent && turn.after === after)
    .sort((a, b) => a.created - b.created);
}

export function choose(conversation: Conversation, turn: Turn): void {
  conversation.chosen[key(turn.parent, turn.after)] = turn.id;
}

/** The turns that are shown, from the first to the last. */
export function path(conversation: Conversation): Turn[] {
  const found: Turn[] = [];
  const seen = new Set<string>();
  let [parent, after]: [string | null, string] = [null, ""];
  for (;;) {
    const next = following(conversation, parent, after);
    if (!next.length) return found;
    const wanted: string | undefined = conversation.chosen[key(parent, after)];
    const turn: Turn = next.find((each) => each.id === wanted) ?? next[next.length - 1]!;
    if (seen.has(turn.id)) return found;
    seen.add(turn.id);
    found.push(turn);
    [parent, after] = [turn.id, shownAnswers(turn)];
  }
}

export interface Message {
  role: string;
  content: string | null;
  tool_calls?: unknown[];
  tool_call_id?: string;
}

function said(answer: Answer | undefined): Message[] {
  const messages: Message[] = [];
  for (const step of answer?.steps ?? []) {
    // What broke off is no answer; what the user stopped is one.
    if (step.error || (!step.text && !step.calls.length)) continue;
    const calls = step.calls.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments },
    }));
    if (!calls.length) messages.push({ role: "assistant", content: step.text });
    else {
      messages.push({ role: "assistant", content: step.text || null, tool_calls: calls });
      for (const call of step.calls)
        messages.push({ role: "tool", tool_call_id: call.id, content: step.results[call.id] ?? "" });
    }
  }
  return messages;
}

/** The messages that a model gets: what was said before *turn*, its text, and what *answer* has of it already. */
export function messagesFor(conversation: Conversation, turn: Turn, lane: number, answer?: Answer): Message[] {
  const messages: Message[] = [];
  if (conversation.settings.system.trim()) messages.push({ role: "system", content: conversation.settings.system });
  for (const each of path(conversation)) {
    if (each.id === turn.id) break;
    const answered = said(shownAnswer(each, lane) ?? shownAnswer(each, 0));
    // A question that failed is left out with its answer: many templates want the roles to take turns.
    if (answered.length) messages.push({ role: "user", content: each.text }, ...answered);
  }
  return [...messages, { role: "user", content: turn.text }, ...said(answer)];
}

/** A copy of the conversation that ends with what is shown at *turn*. */
export function branchOff(conversation: Conversation, turn: Turn, id: string): Conversation {
  const copy: Conversation = structuredClone({ ...conversation, id, turns: {}, chosen: {} });
  copy.created = copy.updated = Date.now();
  for (const each of path(conversation)) {
    const kept = structuredClone(each);
    kept.lanes = each.lanes.map((_, lane) => {
      const answer = shownAnswer(each, lane);
      return answer ? [structuredClone(answer)] : [];
    });
    kept.active = kept.lanes.map(() => 0);
    copy.turns[kept.id] = kept;
    if (each.id === turn.id) break;
  }
  return copy;
}
