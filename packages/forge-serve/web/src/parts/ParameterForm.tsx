import { useState } from "preact/hooks";
import { change, changes, current } from "../state";
import type { Parameters, ParameterSchema } from "../types";
import { Typed } from "./fields";
import { Icon } from "./icons";

/** They have a place of their own. */
const ELSEWHERE = new Set(["response_format", "grammar", "tools", "tool_choice", "logprobs", "top_logprobs"]);
const FIRST = ["temperature", "max_tokens", "top_p", "top_k", "min_p", "seed", "stop"];

const title = (name: string): string => {
  const words = name.replaceAll("_", " ");
  return /^(top [pk]|min p)$/.test(words) ? words.replace(" ", "-") : words[0]!.toUpperCase() + words.slice(1);
};

/** A form made from the schema that the server has of its parameters. */
export function ParameterForm({ known }: { known: Parameters[] }) {
  changes.value;
  const [unfolded, unfold] = useState(Object.keys(current.value.settings.parameters).some((name) => !FIRST.includes(name)));
  if (!known.length) return <p class="note">This server doesn't say which parameters the model has.</p>;
  const schemas: Record<string, ParameterSchema> = Object.assign({}, ...known.map((each) => each.schemas));
  const names = Object.keys(schemas).filter((name) => !ELSEWHERE.has(name));
  const order = [...FIRST.filter((name) => names.includes(name)), ...names.filter((name) => !FIRST.includes(name))];
  const shared = order.filter((name) => known.every((each) => name in each.schemas));
  const more = shared.filter((name) => !FIRST.includes(name));
  const field = (name: string) => <Field key={name} name={name} schema={schemas[name]!} fallback={known[0]!.values[name]} />;
  const own = order.filter((name) => !shared.includes(name));
  return (
    <div class="form">
      {shared.filter((name) => FIRST.includes(name)).map(field)}
      <details class="more" open={unfolded} onToggle={(event) => unfold(event.currentTarget.open)}>
        <summary><Icon name="right" /> More parameters</summary>
        <div class="form">{more.map(field)}</div>
      </details>
      {own.length > 0 && <p class="note">Only one of the two engines has {own.map((name) => title(name).toLowerCase()).join(", ")}.</p>}
    </div>
  );
}

function Field({ name, schema, fallback }: { name: string; schema: ParameterSchema; fallback: unknown }) {
  changes.value;
  const id = `parameter-${name}`;
  const value = current.value.settings.parameters[name];
  const set = (next: unknown): void =>
    change((settings) => {
      if (next === undefined) delete settings.parameters[name];
      else settings.parameters[name] = next;
    });
  const shown = fallback === undefined || (Array.isArray(fallback) && !fallback.length) ? "" : String(fallback);
  const { control, wide } = controlFor(schema, { id, value, set, shown });
  return (
    <div class={`field ${wide ? "" : "inline"} ${value === undefined ? "" : "set"}`}>
      <div class="field-head">
        <label for={id}>{title(name)}</label>
        {value !== undefined && <button class="link" aria-label={`Reset ${title(name)}`} onClick={() => set(undefined)}>Reset</button>}
      </div>
      {control}
      <p class="help" id={`${id}-help`}>{schema.description}</p>
    </div>
  );
}

interface Control {
  id: string;
  value: unknown;
  set: (value: unknown) => void;
  shown: string;
}

function controlFor(schema: ParameterSchema, { id, value, set, shown }: Control): { control: preact.ComponentChildren; wide: boolean } {
  const described = { id, "aria-describedby": `${id}-help` };
  if (schema.enum)
    return {
      wide: false,
      control: (
        <select {...described} value={value === undefined ? "" : String(value)}
          onChange={(event) => set(schema.enum!.find((each) => String(each) === event.currentTarget.value))}>
          <option value="">{shown ? `Default: ${shown}` : "Default"}</option>
          {schema.enum.map((each) => <option key={each} value={String(each)}>{each}</option>)}
        </select>
      ),
    };
  if (schema.type === "boolean")
    return {
      wide: false,
      control: (
        <select {...described} value={value === undefined ? "" : String(value)}
          onChange={(event) => set(event.currentTarget.value ? event.currentTarget.value === "true" : undefined)}>
          <option value="">{shown ? `Default: ${shown}` : "Default"}</option>
          <option value="true">Yes</option>
          <option value="false">No</option>
        </select>
      ),
    };
  if (schema.type === "number" || schema.type === "integer") return { wide: false, control: numberControl(schema, described, value, set, shown) };
  if (schema.type === "array")
    return {
      wide: true,
      control: (
        <Typed<string[]>
          value={value as string[] | undefined} onChange={set} write={(each) => each.join("\n")}
          read={(text) => text.split("\n").filter((line) => line !== "")}
          render={({ text, type }) => (
            <textarea {...described} rows={2} placeholder="One in each line" value={text} onInput={(event) => type(event.currentTarget.value)} />
          )}
        />
      ),
    };
  if (schema.type === "string")
    return {
      wide: true,
      control: (
        <textarea {...described} rows={2} value={(value as string | undefined) ?? ""} onInput={(event) => set(event.currentTarget.value || undefined)} />
      ),
    };
  return {
    wide: true,
    control: (
      <Typed<unknown>
        value={value} onChange={set} write={(each) => JSON.stringify(each)} read={readObject}
        render={({ text, problem, type }) => (
          <>
            <textarea {...described} class="mono" rows={2} spellcheck={false} placeholder="{}" value={text} aria-invalid={problem !== null}
              onInput={(event) => type(event.currentTarget.value)} />
            {problem && <p class="wrong">{problem}</p>}
          </>
        )}
      />
    ),
  };
}

function readObject(text: string): unknown {
  const found: unknown = JSON.parse(text);
  if (typeof found !== "object" || found === null || Array.isArray(found)) throw new Error("It must be an object: {…}.");
  return found;
}

function numberControl(
  schema: ParameterSchema, described: { id: string }, value: unknown, set: (value: unknown) => void, shown: string,
): preact.ComponentChildren {
  const least = schema.minimum ?? schema.exclusiveMinimum;
  const read = (text: string): number => {
    const found = Number(text.replace(",", "."));
    if (!Number.isFinite(found)) throw new Error("It must be a number.");
    if (schema.type === "integer" && !Number.isInteger(found)) throw new Error("It must be a whole number.");
    if (schema.exclusiveMinimum !== undefined && found <= schema.exclusiveMinimum) throw new Error(`It must be above ${schema.exclusiveMinimum}.`);
    if (schema.minimum !== undefined && found < schema.minimum) throw new Error(`It must be at least ${schema.minimum}.`);
    if (schema.maximum !== undefined && found > schema.maximum) throw new Error(`It must be at most ${schema.maximum}.`);
    return found;
  };
  // A slider where its ends are near enough to each other; temperature has no upper end.
  const most = schema.maximum ?? (described.id.endsWith("-temperature") ? 2 : undefined);
  const slides = schema.type === "number" && least !== undefined && most !== undefined && most - least <= 10;
  return (
    <Typed<number>
      value={value as number | undefined} onChange={set} write={String} read={read}
      render={({ text, problem, type }) => (
        <>
          <div class="number">
            {slides && (
              <input
                type="range" min={least} max={most} step={0.01} tabIndex={-1} aria-hidden="true"
                value={text === "" ? shown || String(least) : text} onInput={(event) => {
                  const chosen = Number(event.currentTarget.value);
                  type(String(schema.exclusiveMinimum !== undefined ? Math.max(chosen, schema.exclusiveMinimum + 0.01) : chosen));
                }}
              />
            )}
            <input {...described} inputMode="decimal" placeholder={shown || "not set"} value={text} aria-invalid={problem !== null}
              onInput={(event) => type(event.currentTarget.value)} />
          </div>
          {problem && <p class="wrong" role="alert">{problem}</p>}
        </>
      )}
    />
  );
}
