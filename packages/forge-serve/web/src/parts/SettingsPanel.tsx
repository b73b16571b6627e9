import { useState } from "preact/hooks";
import { change, changes, current, keepAsDefault, panel, parameters } from "../state";
import { newSettings } from "../types";
import { FormatEditor } from "./FormatEditor";
import { Icon } from "./icons";
import { ParameterForm } from "./ParameterForm";
import { Json } from "./fields";

const EXAMPLE_TOOLS = JSON.stringify(
  [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "The weather in a city",
        parameters: {
          type: "object",
          properties: { city: { type: "string", description: "The city's name" } },
          required: ["city"],
          additionalProperties: false,
        },
      },
    },
  ],
  null,
  2,
);

export function SettingsPanel() {
  changes.value;
  const { settings, models } = current.value;
  const known = models.map((model) => parameters.value[model]).filter((each) => each !== undefined);
  const refused = (name: string): boolean => known.some((each) => !(name in each.schemas));
  const set = Object.keys(settings.parameters).length;
  return (
    <aside class="panel" aria-label="Settings of this conversation">
      <header>
        <h2>Settings</h2>
        <button class="icon-button" aria-label="Close the settings" onClick={() => (panel.value = false)}><Icon name="close" /></button>
      </header>
      <div class="panel-body" key={current.value.id}>
        <Section title="System prompt" open mark={settings.system.trim() ? "set" : ""}>
          <label class="hidden" for="system">System prompt</label>
          <textarea
            id="system" rows={4} placeholder="You answer in one short paragraph." value={settings.system}
            onInput={(event) => { const { value } = event.currentTarget; change((each) => { each.system = value; }); }}
          />
        </Section>
        <Section title="Parameters" open mark={set ? `${set} set` : ""}>
          <ParameterForm known={known} />
        </Section>
        <Section title="Structured answer" mark={settings.format.kind === "text" ? "" : "on"}>
          {refused("response_format") ? <p class="note">The model's engine can't do this.</p> : <FormatEditor />}
        </Section>
        <Section title="Tools" mark={settings.tools.trim() ? "on" : ""}>
          {refused("tools") ? <p class="note">The model's engine can't call tools.</p> : <Tools />}
        </Section>
        <Section title="Probabilities" mark={settings.probabilities ? "on" : ""}>
          {refused("logprobs") ? (
            <p class="note">The model's engine doesn't tell them.</p>
          ) : (
            <label class="tick">
              <input
                type="checkbox" checked={settings.probabilities}
                onChange={(event) => { const { checked } = event.currentTarget; change((each) => { each.probabilities = checked; }); }}
              />
              Show the probability of each token, and what the model might have said instead
            </label>
          )}
        </Section>
        <div class="buttons">
          <button class="button quiet" onClick={() => change((each) => { Object.assign(each, newSettings()); })}>Reset all</button>
          <button class="button quiet" onClick={keepAsDefault}>Use for new chats</button>
        </div>
      </div>
    </aside>
  );
}

function Section({ title, mark, open, children }: { title: string; mark: string; open?: boolean; children: preact.ComponentChildren }) {
  const [shown, show] = useState(open || !!mark); // what is set unfolds it once; emptying a box must not fold it away
  return (
    <details class="section" open={shown} onToggle={(event) => show(event.currentTarget.open)}>
      <summary><Icon name="right" /><h3>{title}</h3>{mark && <span class="mark">{mark}</span>}</summary>
      <div class="section-body">{children}</div>
    </details>
  );
}

function Tools() {
  changes.value;
  const { settings } = current.value;
  return (
    <>
      <p class="note">The model may call these functions. The call is shown, and you say what it returns.</p>
      <Json
        id="tools" label="Functions, as JSON" rows={8} value={settings.tools}
        onChange={(value) => change((each) => { each.tools = value; })}
      />
      <div class="buttons">
        <button class="button quiet" onClick={() => change((each) => { each.tools = EXAMPLE_TOOLS; })}>Insert an example</button>
      </div>
      <label class="field">
        <span>The model</span>
        <select value={settings.toolChoice} onChange={(event) => { const { value } = event.currentTarget; change((each) => { each.toolChoice = value; }); }}>
          <option value="auto">may call them</option>
          <option value="required">must call one</option>
          <option value="none">must not call them</option>
        </select>
      </label>
    </>
  );
}
