/** Requests to the server that this page came from. */
import { signal } from "@preact/signals";

const KEPT = "llamaforge-key";

/** The API key; empty where none was given. */
export const apiKey = signal(localStorage.getItem(KEPT) ?? sessionStorage.getItem(KEPT) ?? "");
/** Whether the server has asked for a key, and what it said. */
export const keyWanted = signal<string | null>(null);

export function setKey(key: string, remember: boolean): void {
  apiKey.value = key;
  localStorage.removeItem(KEPT);
  sessionStorage.removeItem(KEPT);
  if (key) (remember ? localStorage : sessionStorage).setItem(KEPT, key);
  keyWanted.value = null;
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly param: string | null = null,
  ) {
    super(message);
  }
}

/** A request; the answer has a status below 400. Throws ApiError. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (init.body) headers.set("content-type", "application/json");
  if (apiKey.value) headers.set("authorization", `Bearer ${apiKey.value}`);
  let answer: Response;
  try {
    answer = await fetch(new URL(path, document.baseURI), { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "The server can't be reached. Is it still running?");
  }
  if (answer.ok) return answer;
  const [message, param] = told(await answer.text(), answer.status);
  if (answer.status === 401) keyWanted.value = apiKey.value ? "The server doesn't know this key." : "";
  throw new ApiError(answer.status, message, param);
}

export async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await request(path, init)).json()) as T;
}

export const post = <T>(path: string, body: unknown, abort?: AbortSignal): Promise<T> =>
  json<T>(path, { method: "POST", body: JSON.stringify(body), signal: abort });

/** The message and the field in an error of any of the server's dialects. */
function told(body: string, status: number): [string, string | null] {
  try {
    const error = JSON.parse(body).error;
    if (typeof error === "string") return [error, null];
    if (error?.message) return [error.message, error.param ?? null];
  } catch {
    // a proxy's page, say
  }
  return [`The server answered with the status ${status}.`, null];
}

export interface ServerEvent {
  event: string;
  data: string;
}

/** The events of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export async function* events(answer: Response): AsyncGenerator<ServerEvent> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let [event, data] = ["message", [] as string[]];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      const lines = (rest + (value ?? "")).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop()!;
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { event, data: data.join("\n") };
          [event, data] = ["message", []];
        } else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line.startsWith("event:")) event = line.slice(6).trim();
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
