import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { events, post, request } from "../api";
import { announcement, dialog, models, modelsError, readModels, setModels } from "../state";
import type { Model } from "../types";
import { Dialog } from "./dialogs";
import { Icon } from "./icons";

/** What is being done to a model, and what went wrong with it. */
const busy = signal<Record<string, string>>({});
const wrong = signal<Record<string, string>>({});

async function administer(model: Model, what: "load" | "unload" | "pin" | "unpin"): Promise<void> {
  busy.value = { ...busy.value, [model.id]: what };
  wrong.value = { ...wrong.value, [model.id]: "" };
  try {
    await post(`admin/${what}`, { model: model.id });
    announcement.value = `${model.id}: ${DONE[what]}.`;
  } catch (error) {
    wrong.value = { ...wrong.value, [model.id]: (error as Error).message };
  }
  const { [model.id]: _, ...left } = busy.value;
  busy.value = left;
  if (!followed.value) await readModels();
}

const DONE = { load: "loaded", unload: "unloaded", pin: "kept in memory", unpin: "no longer kept in memory" };

interface Overview {
  data: Model[];
  memory: { budget: number | null; taken: number };
}

/** Whether the server tells each change by itself; it does so to administrators. */
const followed = signal<Overview["memory"] | null>(null);

async function follow(abort: AbortSignal): Promise<void> {
  try {
    for await (const event of events(await request("admin/events", { signal: abort }))) {
      if (event.event !== "models") continue;
      const overview = JSON.parse(event.data) as Overview;
      followed.value = overview.memory;
      setModels(overview.data);
    }
  } catch {
    // looking again and again does as well
  } finally {
    followed.value = null;
  }
}

export function ModelsDialog() {
  useEffect(() => {
    const abort = new AbortController();
    void follow(abort.signal);
    const timer = setInterval(() => {
      if (!followed.value) void readModels();
    }, 1000);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, []);
  const known = models.value;
  const taken = followed.value?.taken ?? known?.reduce((sum, model) => sum + (model.memory?.total ?? 0), 0) ?? 0;
  const budget = followed.value?.budget;
  return (
    <Dialog title="Models" onClose={() => (dialog.value = null)} wide>
      {modelsError.value && <p class="wrong" role="alert">{modelsError.value}</p>}
      {known && !known.length && (
        <p>No model is named yet. <code>llamaforge models add NAME MODEL</code> names one; it appears here at once.</p>
      )}
      {known && known.length > 0 && (
        <p class="faint">
          A model is loaded when it is first asked. The loaded ones take {taken ? size(taken) : "no memory"}
          {budget ? ` of ${size(budget)}` : ""}.
        </p>
      )}
      <ul class="models">{known?.map((model) => <Row key={model.id} model={model} />)}</ul>
    </Dialog>
  );
}

const STATES: Record<string, string> = { loaded: "Loaded", loading: "Loading", unloading: "Unloading", unloaded: "Not loaded" };

function Row({ model }: { model: Model }) {
  const doing = busy.value[model.id];
  const state = doing === "load" && model.state !== "loaded" ? "loading" : doing === "unload" ? "unloading" : model.state ?? "unloaded";
  const moving = state === "loading" || state === "unloading";
  const { progress } = model;
  const share = progress?.total ? progress.done / progress.total : undefined;
  const problem = wrong.value[model.id] || (state === "unloaded" && model.error);
  const facts = [
    STATES[state] ?? state,
    model.backend,
    model.context_length && `context ${model.context_length.toLocaleString()}`,
    model.memory ? `${size(model.memory.total)} of memory` : model.size && `${size(model.size)} on disk`,
    model.running && `answers ${model.running}`,
  ].filter(Boolean);
  return (
    <li>
      <span class={`state ${state}`} aria-hidden="true" />
      <div class="model-name">
        <strong>{model.id}</strong>
        <span class="faint">{facts.join(" · ")}</span>
        {moving && (
          <div class="progress" role="progressbar" aria-label={`${STATES[state]} ${model.id}`} aria-valuenow={share && Math.round(share * 100)}>
            <i class={share === undefined ? "" : "known"} style={share === undefined ? undefined : { width: `${share * 100}%` }} />
          </div>
        )}
        {moving && progress && <span class="faint">{progress.what}: {size(progress.done)}{progress.total ? ` of ${size(progress.total)}` : ""}</span>}
        {problem && <p class="wrong" role="alert">{problem}</p>}
      </div>
      {model.pinned !== undefined && (
        <button class="icon-button" aria-pressed={model.pinned} aria-label={`Keep ${model.id} in memory`} title="Keep in memory"
          onClick={() => void administer(model, model.pinned ? "unpin" : "pin")}>
          <Icon name="pin" />
        </button>
      )}
      <button class="button quiet" disabled={moving || !!doing} aria-label={`${state === "loaded" ? "Unload" : "Load"} ${model.id}`}
        onClick={() => void administer(model, state === "loaded" ? "unload" : "load")}>
        {state === "loaded" || state === "unloading" ? "Unload" : "Load"}
      </button>
    </li>
  );
}

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`;
}
