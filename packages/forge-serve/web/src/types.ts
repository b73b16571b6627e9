/** What is kept of a conversation. Turns form a tree, so that edits and second answers lose nothing. */

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details?: { cached_tokens?: number };
  completion_tokens_details?: { reasoning_tokens?: number };
}

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

export interface TokenLogprob {
  token: string;
  logprob: number;
  top: { token: string; logprob: number }[];
}

/** One request to the model and what came back. */
export interface Step {
  text: string;
  reasoning: string;
  calls: ToolCall[];
  /** The results of the calls, by their ids. */
  results: Record<string, string>;
  logprobs: TokenLogprob[];
  usage?: Usage;
  finish?: string;
  error?: string;
  /** Milliseconds until the first piece, and until the end. */
  first?: number;
  took?: number;
  /** Milliseconds from the first piece of reasoning to what follows it. */
  thought?: number;
  /** Fields that the server said mean nothing to it. */
  ignored?: string;
}

export interface Answer {
  id: string;
  model: string;
  created: number;
  /** Several where the model called tools: each set of results is followed by another step. */
  steps: Step[];
  /** Whether the answer was asked for as JSON. */
  json?: boolean;
}

export interface Turn {
  id: string;
  /** The turn before it; null at the beginning. */
  parent: string | null;
  /** The answers of the turn before that it follows, so that each answer has its own continuation. */
  after: string;
  text: string;
  created: number;
  /** The answers of each lane: a second lane answers where two models are compared. */
  lanes: Answer[][];
  /** Which of them is shown, in each lane. */
  active: number[];
}

export type FormatKind = "text" | "json_object" | "json_schema" | "regex" | "choice" | "grammar";

export interface Settings {
  system: string;
  parameters: Record<string, unknown>;
  format: { kind: FormatKind; schema: string; regex: string; choice: string; grammar: string };
  tools: string;
  toolChoice: string;
  probabilities: boolean;
}

export interface Conversation {
  id: string;
  title: string;
  created: number;
  updated: number;
  models: string[];
  settings: Settings;
  turns: Record<string, Turn>;
  /** Which turn is shown where several follow the same answers. */
  chosen: Record<string, string>;
}

/** A model as `/v1/models` tells it; what follows `memory` is told to administrators only. */
export interface Model {
  id: string;
  backend?: string | null;
  state?: string;
  context_length?: number | null;
  capabilities?: { tasks?: string[] };
  memory?: { total: number } | null;
  pinned?: boolean;
  size?: number | null;
  running?: number;
  progress?: { done: number; total: number | null; what: string } | null;
  error?: string | null;
}

export interface ParameterSchema {
  type?: string;
  description?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  enum?: (string | number)[];
  items?: ParameterSchema;
  anyOf?: ParameterSchema[];
}

/** The parameters that a model understands, and the values that apply where a request has none. */
export interface Parameters {
  schemas: Record<string, ParameterSchema>;
  values: Record<string, unknown>;
}

export function newSettings(): Settings {
  return {
    system: "",
    parameters: {},
    format: { kind: "text", schema: "", regex: "", choice: "", grammar: "" },
    tools: "",
    toolChoice: "auto",
    probabilities: false,
  };
}

export function newStep(): Step {
  return { text: "", reasoning: "", calls: [], results: {}, logprobs: [] };
}

export const newId = (): string =>
  crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
