import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { post } from "../api";
import { announcement, dialog, models, modelsError, readModels } from "../state";
import type { Model } from "../types";
import { Dialog } from "./dialogs";

/** What is being done to a model, and what went wrong with it. */
const busy = signal<Record<string, string>>({});
const wrong = signal<Record<string, string>>({});

async function administer(model: Model, what: "load" | "unload"): Promise<void> {
  busy.value = { ...busy.value, [model.id]: what };
  wrong.value = { ...wrong.value, [model.id]: "" };
  try {
    await post(`admin/${what}`, { model: model.id });
    announcement.value = `${model.id} is ${what}ed.`;
  } catch (error) {
    wrong.value = { ...wrong.value, [model.id]: (error as Error).message };
  }
  const { [model.id]: _, ...left } = busy.value;
  busy.value = left;
  await readModels();
}

export function ModelsDialog() {
  useEffect(() => {
    void readModels();
    const timer = setInterval(() => void readModels(), 1000);
    return () => clearInterval(timer);
  }, []);
  const known = models.value;
  const total = known?.reduce((sum, model) => sum + (model.memory ?? 0), 0) ?? 0;
  return (
    <Dialog title="Models" onClose={() => (dialog.value = null)} wide>
      {modelsError.value && <p class="wrong" role="alert">{modelsError.value}</p>}
      {known && !known.length && (
        <p>No model is named yet. <code>llamaforge models add NAME MODEL</code> names one; it appears here at once.</p>
      )}
      {known && known.length > 0 && (
        <p class="faint">A model is loaded when it is first asked. {total ? `The loaded ones take ${size(total)}.` : ""}</p>
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
  const facts = [
    model.backend,
    model.context_length && `context ${model.context_length.toLocaleString()}`,
    model.memory && size(model.memory),
    model.pinned && "pinned",
  ].filter(Boolean);
  return (
    <li>
      <span class={`state ${state}`} aria-hidden="true" />
      <div class="model-name">
        <strong>{model.id}</strong>
        <span class="faint">{[STATES[state] ?? state, ...facts].join(" · ")}</span>
        {moving && <div class="progress" role="progressbar" aria-label={`${STATES[state]} ${model.id}`}><i /></div>}
        {wrong.value[model.id] && <p class="wrong" role="alert">{wrong.value[model.id]}</p>}
      </div>
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
