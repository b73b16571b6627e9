import { useEffect, useState } from "preact/hooks";

interface JsonProps {
  id: string;
  label: string;
  value: string;
  rows: number;
  placeholder?: string;
  onChange: (value: string) => void;
}

/** A box for JSON that says what is wrong with it. */
export function Json({ id, label, value, rows, placeholder, onChange }: JsonProps) {
  const problem = value.trim() ? mistake(value) : null;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <textarea
        id={id} class="mono" rows={rows} spellcheck={false} placeholder={placeholder} value={value}
        aria-invalid={problem !== null} aria-describedby={problem ? `${id}-problem` : undefined}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      {problem && <p class="wrong" id={`${id}-problem`}>{problem}</p>}
    </div>
  );
}

export function mistake(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

interface TypedProps<T> {
  value: T | undefined;
  /** Text to a value; throws an Error that says what is wrong. */
  read: (text: string) => T;
  write: (value: T) => string;
  onChange: (value: T | undefined) => void;
  render: (props: { text: string; problem: string | null; type: (text: string) => void }) => preact.ComponentChildren;
}

/** What is typed stays as it is while it means nothing yet; only what means something is kept. */
export function Typed<T>({ value, read, write, onChange, render }: TypedProps<T>) {
  const [text, setText] = useState(value === undefined ? "" : write(value));
  const [problem, setProblem] = useState<string | null>(null);
  const written = value === undefined ? "" : write(value);
  useEffect(() => {
    if (problem === null) {
      let same = false;
      try {
        same = (text.trim() ? write(read(text)) : "") === written;
      } catch {
        // it is shown anew
      }
      if (!same) setText(written);
    }
  }, [written]);
  const type = (next: string): void => {
    setText(next);
    if (!next.trim()) {
      setProblem(null);
      onChange(undefined);
      return;
    }
    try {
      onChange(read(next));
      setProblem(null);
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return <>{render({ text, problem, type })}</>;
}
