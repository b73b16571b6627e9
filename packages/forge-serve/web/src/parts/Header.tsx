import { compare } from "../chat";
import { changes, chatModels, current, dialog, drawer, isSet, modelOf, models, modelsError, panel, readModels, setModel } from "../state";
import * as tree from "../tree";
import { Icon } from "./icons";

export function Header() {
  changes.value;
  const conversation = current.value;
  const two = conversation.models.length > 1;
  return (
    <header class="header">
      <button class="icon-button only-narrow" aria-label="Conversations" aria-expanded={drawer.value} onClick={() => (drawer.value = true)}>
        <Icon name="menu" />
      </button>
      <div class="pickers">
        <Picker lane={0} />
        {two && <span class="versus" aria-hidden="true">and</span>}
        {two && <Picker lane={1} />}
      </div>
      <div class="header-end">
        <Gauge />
        <button
          class="icon-button"
          aria-label="Compare two models"
          title="Compare two models"
          aria-pressed={two}
          disabled={!conversation.models[0]}
          onClick={() => compare(!two, chatModels.value.find((model) => model.id !== conversation.models[0])?.id)}
        >
          <Icon name="columns" />
        </button>
        <button
          class="icon-button" aria-label="Settings" title={isSet(conversation.settings) ? "Settings; some are set" : "Settings"}
          aria-expanded={panel.value} onClick={() => (panel.value = !panel.value)}
        >
          <Icon name="sliders" />
          {isSet(conversation.settings) && <span class="dot" />}
        </button>
      </div>
    </header>
  );
}

function Picker({ lane }: { lane: number }) {
  changes.value;
  const name = current.value.models[lane] ?? "";
  const known = chatModels.value;
  const model = modelOf(name);
  if (!models.value)
    return (
      <span class="faint">
        {modelsError.value || "Reading the models…"}{" "}
        {modelsError.value && <button class="link" onClick={() => void readModels()}>Try again</button>}
      </span>
    );
  if (!known.length)
    return <button class="link" onClick={() => (dialog.value = "models")}>No model is named yet</button>;
  return (
    <label class="picker">
      <span class={`state ${model?.state ?? "unloaded"}`} title={model?.state ?? "unknown"} />
      <span class="hidden">{lane ? "The other model" : "Model"}</span>
      <select value={name} onChange={(event) => setModel(lane, event.currentTarget.value)}>
        {!model && <option value={name}>{name ? `${name} (not here)` : "Choose a model"}</option>}
        {known.map((each) => (
          <option key={each.id} value={each.id}>{each.id}{each.backend ? ` · ${each.backend}` : ""}</option>
        ))}
      </select>
      <Icon name="down" />
    </label>
  );
}

/** How much of the context the conversation takes. */
function Gauge() {
  changes.value;
  const last = tree.path(current.value).at(-1);
  const answer = last && tree.shownAnswer(last, 0);
  const used = answer?.steps.findLast((step) => step.usage)?.usage?.total_tokens;
  const size = modelOf(answer?.model)?.context_length;
  if (!used || !size) return null;
  const share = Math.min(1, used / size);
  const text = `${used.toLocaleString()} of ${size.toLocaleString()} tokens of the context are used`;
  return (
    <div class={`gauge ${share > 0.9 ? "full" : share > 0.7 ? "high" : ""}`} title={text} role="meter" aria-label="Context"
      aria-valuemin={0} aria-valuemax={size} aria-valuenow={Math.min(used, size)} aria-valuetext={text}>
      <svg viewBox="0 0 20 20" aria-hidden="true">
        <circle cx="10" cy="10" r="8" />
        <circle class="part" cx="10" cy="10" r="8" pathLength={100} stroke-dasharray={`${share * 100} 100`} />
      </svg>
      <span>{Math.round(share * 100)}%</span>
    </div>
  );
}
