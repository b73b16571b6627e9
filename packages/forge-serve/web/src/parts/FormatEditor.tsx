import { useState } from "preact/hooks";
import { change, changes, current } from "../state";
import type { FormatKind } from "../types";
import { Json } from "./fields";
import { Icon } from "./icons";

const KINDS: [FormatKind, string][] = [
  ["text", "Free text"],
  ["json_schema", "JSON that follows a schema"],
  ["json_object", "Any JSON object"],
  ["choice", "One of several texts"],
  ["regex", "A regular expression"],
  ["grammar", "A grammar"],
];

export function FormatEditor() {
  changes.value;
  const { format } = current.value.settings;
  const set = (part: Partial<typeof format>): void => change((settings) => { Object.assign(settings.format, part); });
  return (
    <>
      <label class="field">
        <span>The answer is</span>
        <select
          value={format.kind}
          onChange={(event) => {
            const kind = event.currentTarget.value as FormatKind;
            set({ kind, schema: kind === "json_schema" && !format.schema.trim() ? write([{ name: "answer", type: "string", description: "", required: true }]) : format.schema });
          }}
        >
          {KINDS.map(([kind, label]) => <option key={kind} value={kind}>{label}</option>)}
        </select>
      </label>
      {format.kind === "json_schema" && <SchemaEditor value={format.schema} onChange={(schema) => set({ schema })} />}
      {format.kind === "choice" && (
        <label class="field"><span>One text in each line</span>
          <textarea rows={4} placeholder={"yes\nno"} value={format.choice} onInput={(event) => set({ choice: event.currentTarget.value })} />
        </label>
      )}
      {format.kind === "regex" && (
        <label class="field"><span>Regular expression for the whole answer</span>
          <textarea class="mono" rows={2} spellcheck={false} placeholder="[0-9]{4}-[0-9]{2}-[0-9]{2}" value={format.regex} onInput={(event) => set({ regex: event.currentTarget.value })} />
        </label>
      )}
      {format.kind === "grammar" && (
        <label class="field"><span>Grammar in Lark or GBNF</span>
          <textarea class="mono" rows={6} spellcheck={false} placeholder={'root ::= "yes" | "no"'} value={format.grammar} onInput={(event) => set({ grammar: event.currentTarget.value })} />
        </label>
      )}
    </>
  );
}

interface Row {
  name: string;
  type: string;
  description: string;
  required: boolean;
}

const TYPES: [string, string][] = [
  ["string", "text"],
  ["integer", "integer"],
  ["number", "number"],
  ["boolean", "boolean"],
  ["string[]", "texts"],
  ["integer[]", "integers"],
  ["number[]", "numbers"],
];

function write(rows: Row[]): string {
  const properties = Object.fromEntries(
    rows.map((row) => {
      const type = row.type.replace("[]", "");
      const schema: Record<string, unknown> = row.type.endsWith("[]") ? { type: "array", items: { type } } : { type };
      if (row.description) schema.description = row.description;
      return [row.name, schema];
    }),
  );
  const required = rows.filter((row) => row.required).map((row) => row.name);
  return JSON.stringify({ type: "object", properties, required, additionalProperties: false }, null, 2);
}

/** The fields of a schema, where it is one that rows can show without losing anything. */
function read(text: string): Row[] | null {
  try {
    const schema = JSON.parse(text);
    if (schema.type !== "object" || schema.additionalProperties !== false) return null;
    const rows = Object.entries(schema.properties as Record<string, { type: string; items?: { type: string }; description?: string }>).map(
      ([name, each]) => ({
        name,
        type: each.type === "array" ? `${each.items?.type}[]` : each.type,
        description: each.description ?? "",
        required: (schema.required ?? []).includes(name),
      }),
    );
    const same = JSON.stringify(JSON.parse(write(rows))) === JSON.stringify(schema);
    return same && rows.every((row) => TYPES.some(([type]) => type === row.type)) ? rows : null;
  } catch {
    return null;
  }
}

function SchemaEditor({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [source, setSource] = useState(false);
  const rows = read(value);
  const asRows = rows && !source;
  const edit = (place: number, part: Partial<Row>): void => onChange(write(rows!.map((row, each) => (each === place ? { ...row, ...part } : row))));
  return (
    <div class="schema">
      <div class="segments words" role="group" aria-label="How the schema is edited">
        <button aria-pressed={!!asRows} disabled={!rows} onClick={() => setSource(false)}>Fields</button>
        <button aria-pressed={!asRows} onClick={() => setSource(true)}>JSON schema</button>
      </div>
      {!rows && !source && <p class="note">This schema says more than a list of fields can show.</p>}
      {asRows ? (
        <>
          <ul class="rows">
            {rows.map((row, place) => (
              <li key={place}>
                <input aria-label={`Name of field ${place + 1}`} value={row.name}
                  onChange={(event) => {
                    const name = event.currentTarget.value.trim();
                    if (name && !rows.some((each, other) => other !== place && each.name === name)) edit(place, { name });
                    else event.currentTarget.value = row.name;
                  }} />
                <select aria-label={`Type of ${row.name}`} value={row.type} onChange={(event) => edit(place, { type: event.currentTarget.value })}>
                  {TYPES.map(([type, label]) => <option key={type} value={type}>{label}</option>)}
                </select>
                <input class="description" aria-label={`Description of ${row.name}`} placeholder="What it means" value={row.description}
                  onChange={(event) => edit(place, { description: event.currentTarget.value })} />
                <label class="tick"><input type="checkbox" checked={row.required} onChange={(event) => edit(place, { required: event.currentTarget.checked })} /> required</label>
                <button class="icon-button" aria-label={`Remove ${row.name}`} onClick={() => onChange(write(rows.filter((_, other) => other !== place)))}><Icon name="trash" /></button>
              </li>
            ))}
          </ul>
          <button class="button quiet" onClick={() => onChange(write([...rows, { name: fresh(rows), type: "string", description: "", required: true }]))}>
            <Icon name="plus" /> Add a field
          </button>
        </>
      ) : (
        <Json id="schema" label="JSON schema" rows={12} value={value} onChange={onChange} />
      )}
    </div>
  );
}

function fresh(rows: Row[]): string {
  for (let number = rows.length + 1; ; number++) if (!rows.some((row) => row.name === `field_${number}`)) return `field_${number}`;
}
