import { useEffect, useRef, useState } from "preact/hooks";
import { branchOff, edit, regenerate, send, stop, writing } from "../chat";
import { changed, changes, current, keep, modelOf, panel } from "../state";
import * as tree from "../tree";
import type { Answer, Turn } from "../types";
import { AnswerView } from "./Answer";
import { grow } from "./Composer";
import { Icon, Logo } from "./icons";
import { CopyButton } from "./Markdown";

export function Chat() {
  changes.value;
  const turns = tree.path(current.value);
  const area = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const stuck = useRef(true);
  const top = useRef(0);

  const toEnd = (): void => {
    stuck.current = true;
    area.current?.scrollTo({ top: area.current.scrollHeight });
  };
  useEffect(() => {
    // The parts of an answer are drawn one by one: what counts is that the whole has grown.
    const watch = new ResizeObserver(() => {
      if (stuck.current) area.current?.scrollTo({ top: area.current.scrollHeight });
    });
    watch.observe(area.current!);
    if (list.current) watch.observe(list.current);
    return () => watch.disconnect();
  }, [turns.length > 0, current.value.id]);
  useEffect(toEnd, [current.value.id, turns.length]);

  return (
    <div
      class="chat"
      ref={area}
      tabIndex={-1}
      onScroll={(event) => {
        const box = event.currentTarget;
        const end = box.scrollHeight - box.scrollTop - box.clientHeight < 48;
        // Only the reader, who scrolls up, leaves the end; an answer that grows doesn't.
        if (end) stuck.current = true;
        else if (box.scrollTop < top.current) stuck.current = false;
        top.current = box.scrollTop;
        setAtEnd(stuck.current);
      }}
    >
      <SystemPrompt />
      {turns.length ? (
        <ol ref={list} class={`turns ${turns.some((turn) => turn.lanes.length > 1) ? "two" : ""}`} aria-label="Conversation">
          {turns.map((turn, place) => <TurnView key={turn.id} turn={turn} last={place === turns.length - 1} />)}
        </ol>
      ) : (
        <Welcome />
      )}
      {!atEnd && turns.length > 0 && (
        <button class="to-end" onClick={toEnd} aria-label="To the end"><Icon name="down" /></button>
      )}
    </div>
  );
}

/** What the model is told before everything else: a conversation is hard to read without it. */
function SystemPrompt() {
  changes.value;
  const text = current.value.settings.system.trim();
  if (!text) return null;
  return (
    <button
      class="system" title={text}
      onClick={() => {
        panel.value = true;
        requestAnimationFrame(() => document.getElementById("system")?.focus());
      }}
    >
      <strong>System prompt</strong> <span>{text}</span>
    </button>
  );
}

const LONG = { lines: 16, characters: 1500 };

/** What was asked; a long one is folded, so that a pasted file doesn't bury the answer. */
function Question({ text }: { text: string }) {
  const [whole, show] = useState(false);
  const long = text.length > LONG.characters || text.split("\n").length > LONG.lines;
  return (
    <div class={`bubble ${long && !whole ? "folded" : ""}`}>
      <div class="said">{text}</div>
      {long && <button class="link" aria-expanded={whole} onClick={() => show(!whole)}>{whole ? "Show less" : "Show all of it"}</button>}
    </div>
  );
}

const IDEAS = [
  "Explain how a hash table works, with a short example in Python.",
  "Write a haiku about a blacksmith's first cup of coffee.",
  "Plan a weekend in Lisbon for somebody who likes trams and custard.",
  "What are three good questions to ask before renting a flat?",
];

function Welcome() {
  changes.value;
  const name = current.value.models[0];
  const model = modelOf(name);
  return (
    <div class="welcome">
      <Logo />
      <h1>What shall we make?</h1>
      <p>
        {name ? (
          <>You talk to <strong>{name}</strong>{model?.backend && <> on {model.backend}</>}. Conversations stay in this browser.</>
        ) : (
          "Conversations stay in this browser."
        )}
      </p>
      <ul class="ideas">
        {IDEAS.map((idea) => <li key={idea}><button onClick={() => send(idea)}>{idea}</button></li>)}
      </ul>
    </div>
  );
}

function Chooser({ place, count, what, go }: { place: number; count: number; what: string; go: (place: number) => void }) {
  if (count < 2) return null;
  return (
    <span class="chooser" role="group" aria-label={`${what} ${place + 1} of ${count}`}>
      <button class="icon-button" aria-label={`Previous ${what.toLowerCase()}`} disabled={!place} onClick={() => go(place - 1)}>
        <Icon name="left" />
      </button>
      <span>{place + 1}/{count}</span>
      <button class="icon-button" aria-label={`Next ${what.toLowerCase()}`} disabled={place === count - 1} onClick={() => go(place + 1)}>
        <Icon name="right" />
      </button>
    </span>
  );
}

function TurnView({ turn, last }: { turn: Turn; last: boolean }) {
  changes.value;
  const [editing, setEditing] = useState(false);
  const conversation = current.value;
  const beside = tree.siblings(conversation, turn);
  return (
    <li class="turn">
      <article class="question" aria-label="You">
        {!editing ? (
          <>
            <Question text={turn.text} />
            <div class="actions">
              <Chooser
                what="Version" count={beside.length} place={beside.indexOf(turn)}
                go={(place) => {
                  tree.choose(conversation, beside[place]!);
                  keep(conversation, false);
                  changed();
                }}
              />
              <CopyButton text={turn.text} label="Copy the question" />
              <button class="icon-button edit-turn" aria-label="Edit the question" title="Edit; what followed is kept" onClick={() => setEditing(true)}>
                <Icon name="edit" />
              </button>
            </div>
          </>
        ) : (
          <Editor text={turn.text} onDone={() => setEditing(false)} onSend={(text) => edit(turn, text) && setEditing(false)} />
        )}
      </article>
      <div class={`lanes lanes-${turn.lanes.length}`}>
        {turn.lanes.map((answers, lane) => (
          <Lane key={lane} turn={turn} lane={lane} answers={answers} last={last} />
        ))}
      </div>
    </li>
  );
}

function Editor({ text, onDone, onSend }: { text: string; onDone: () => void; onSend: (text: string) => void }) {
  const [typed, type] = useState(text);
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    box.current!.focus();
    box.current!.select();
  }, []);
  useEffect(() => grow(box.current!), [typed]);
  const submit = (): void => {
    if (typed.trim()) onSend(typed.trim());
  };
  return (
    <form class="editing" onSubmit={(event) => { event.preventDefault(); submit(); }}>
      <textarea
        ref={box} aria-label="The question" value={typed} onInput={(event) => type(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            onDone();
            document.getElementById("composer")?.focus();
          } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            submit();
          }
        }}
      />
      <div class="buttons">
        <button type="button" class="button quiet" onClick={onDone}>Cancel</button>
        <button class="button primary" disabled={!typed.trim()}>Ask again</button>
      </div>
    </form>
  );
}

function Lane({ turn, lane, answers, last }: { turn: Turn; lane: number; answers: Answer[]; last: boolean }) {
  changes.value;
  const answer = tree.shownAnswer(turn, lane);
  const conversation = current.value;
  if (!answer) return null;
  const busy = writing.value.has(answer.id);
  const text = answer.steps.map((step) => step.text).filter(Boolean).join("\n\n");
  return (
    <article class="answer" aria-label={`Answer of ${answer.model}`} aria-busy={busy}>
      <div class="who"><Logo /> {answer.model}</div>
      <AnswerView turn={turn} lane={lane} answer={answer} busy={busy} />
      <div class={`actions ${last ? "stay" : ""}`}>
        {busy ? (
          turn.lanes.length > 1 && (
            <button class="icon-button" aria-label={`Stop ${answer.model}`} onClick={() => stop(answer.id)}><Icon name="stop" /></button>
          )
        ) : (
          <>
            <Chooser
              what="Answer" count={answers.length} place={answers.indexOf(answer)}
              go={(place) => {
                turn.active[lane] = place;
                keep(conversation, false);
                changed();
              }}
            />
            <CopyButton text={text} label="Copy the answer" />
            <button class="icon-button" aria-label="Answer again" title="Answer again; this answer is kept" onClick={() => regenerate(turn, lane)}>
              <Icon name="retry" />
            </button>
            <button class="icon-button" aria-label="Branch off" title="Go on from here in a new conversation" onClick={() => branchOff(turn)}>
              <Icon name="branch" />
            </button>
          </>
        )}
      </div>
    </article>
  );
}
