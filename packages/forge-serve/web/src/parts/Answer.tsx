import { useEffect, useState } from "preact/hooks";
import { goOn, regenerate } from "../chat";
import { changed, changes, current, followModels, keep, modelOf } from "../state";
import type { Answer, Step, ToolCall, Turn } from "../types";
import { Icon } from "./icons";
import { Code, Markdown } from "./Markdown";
import { Tokens } from "./Tokens";

interface Props {
  turn: Turn;
  lane: number;
  answer: Answer;
  busy: boolean;
}

export function AnswerView({ turn, lane, answer, busy }: Props) {
  changes.value;
  return (
    <>
      {answer.steps.map((step, place) => {
        const last = place === answer.steps.length - 1;
        return <StepView key={place} turn={turn} lane={lane} answer={answer} step={step} last={last} busy={busy && last} />;
      })}
    </>
  );
}

function StepView({ turn, lane, answer, step, last, busy }: Props & { step: Step; last: boolean }) {
  changes.value;
  const begun = step.text || step.reasoning || step.calls.length;
  return (
    <div class="step">
      {step.reasoning && <Reasoning step={step} busy={busy && !step.text && !step.calls.length} />}
      {busy && !begun && <Waiting model={answer.model} />}
      {step.text && <Text step={step} json={!!answer.json} busy={busy} />}
      {step.calls.length > 0 && <Calls turn={turn} lane={lane} answer={answer} step={step} open={last && !busy} />}
      {step.error && (
        <div class="problem" role="alert">
          <p>{step.error}</p>
          <button class="button quiet" onClick={() => regenerate(turn, lane)}><Icon name="retry" /> Try again</button>
        </div>
      )}
      {step.ignored && <p class="note">The server says that these fields mean nothing to it: {decodeURIComponent(step.ignored)}.</p>}
      {!busy && <Figures step={step} />}
    </div>
  );
}

function Waiting({ model }: { model: string }) {
  changes.value;
  const { state, progress } = modelOf(model) ?? {};
  useEffect(() => {
    const timer = setInterval(() => void followModels(), 1000);
    return () => clearInterval(timer);
  }, []);
  const share = progress?.total ? ` ${Math.floor((progress.done / progress.total) * 100)}%` : "";
  return (
    <p class="waiting">
      <span class="dots" aria-hidden="true"><i /><i /><i /></span>
      {state && state !== "loaded" ? `Loading ${model}…${progress ? ` ${progress.what}${share}` : ""}` : "Reading…"}
    </p>
  );
}

function Reasoning({ step, busy }: { step: Step; busy: boolean }) {
  changes.value;
  const count = step.usage?.completion_tokens_details?.reasoning_tokens;
  return (
    <details class="reasoning">
      <summary>
        <Icon name="right" />
        {busy ? (
          <span class="shimmer">Thinking…</span>
        ) : (
          <>
            {step.thought === undefined ? "Thought first" : `Thought for ${seconds(step.thought)}`}
            {count ? `, ${count.toLocaleString()} tokens` : ""}
          </>
        )}
      </summary>
      <div class="reasoning-text">{step.reasoning}</div>
    </details>
  );
}

function Text({ step, json, busy }: { step: Step; json: boolean; busy: boolean }) {
  changes.value;
  const [probabilities, show] = useState(true);
  const has = step.logprobs.length > 0;
  if (json) return <Code text={busy ? step.text : pretty(step.text)} language="json" closed={!busy} writing={busy} />;
  return (
    <>
      {has && (
        <div class="segments words" role="group" aria-label="How the answer is shown">
          <button aria-pressed={probabilities} onClick={() => show(true)}>Probabilities</button>
          <button aria-pressed={!probabilities} onClick={() => show(false)}>Text</button>
        </div>
      )}
      {has && probabilities ? <Tokens tokens={step.logprobs} /> : <Markdown text={step.text} writing={busy} />}
    </>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function Calls({ turn, lane, answer, step, open }: { turn: Turn; lane: number; answer: Answer; step: Step; open: boolean }) {
  changes.value;
  const waits = open && step.finish !== "stopped";
  return (
    <form
      class="calls"
      onSubmit={(event) => {
        event.preventDefault();
        for (const call of step.calls) step.results[call.id] ??= "";
        goOn(turn, lane, answer);
      }}
    >
      {step.calls.map((call) => (
        <CallView key={call.id} call={call} step={step} waits={waits} />
      ))}
      {waits && <div class="buttons"><button class="button primary">{step.calls.length > 1 ? "Send the results" : "Send the result"}</button></div>}
    </form>
  );
}

function CallView({ call, step, waits }: { call: ToolCall; step: Step; waits: boolean }) {
  changes.value;
  const id = `result-${call.id}`;
  return (
    <section class="call" aria-label={`Call of ${call.name}`}>
      <header><Icon name="tool" /> <code>{call.name}</code></header>
      <Code text={pretty(call.arguments)} language="json" closed={waits} writing={!waits && !step.took} />
      {waits ? (
        <>
          <label for={id}>What does it return?</label>
          <textarea
            id={id} rows={2} placeholder='{"temperature": 21}' value={step.results[call.id] ?? ""}
            onInput={(event) => {
              step.results[call.id] = event.currentTarget.value;
              changed();
            }}
            onBlur={() => keep(current.value, false)}
          />
        </>
      ) : (
        call.id in step.results && <div class="result"><span>Result</span><pre tabIndex={0}>{pretty(step.results[call.id]!)}</pre></div>
      )}
    </section>
  );
}

const ENDS: Record<string, string> = {
  length: "ended at the limit of tokens",
  stopped: "stopped",
  content_filter: "ended by the server's filter",
};

/** How long it took, and what it cost. */
function Figures({ step }: { step: Step }) {
  changes.value;
  const parts: string[] = [];
  const { usage, first, took } = step;
  if (usage) {
    const cached = usage.prompt_tokens_details?.cached_tokens;
    parts.push(`${usage.prompt_tokens.toLocaleString()} tokens read${cached ? ` (${cached.toLocaleString()} known already)` : ""}`);
    parts.push(`${usage.completion_tokens.toLocaleString()} written`);
  }
  if (first !== undefined) parts.push(`first after ${seconds(first)}`);
  if (usage && first !== undefined && took !== undefined && took - first > 50 && usage.completion_tokens > 1)
    parts.push(`${(((usage.completion_tokens - 1) / (took - first)) * 1000).toFixed(1)} tokens/s`);
  if (step.finish && ENDS[step.finish]) parts.push(ENDS[step.finish]!);
  return parts.length ? <p class="figures">{parts.join(" · ")}</p> : null;
}

function seconds(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
