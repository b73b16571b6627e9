import { useRef, useState } from "preact/hooks";
import type { TokenLogprob } from "../types";

const percent = (logprob: number): string => {
  const share = Math.exp(logprob) * 100;
  return share >= 99.95 ? "100%" : share >= 10 ? `${share.toFixed(0)}%` : share >= 0.1 ? `${share.toFixed(1)}%` : "< 0.1%";
};
/** From certain to surprising; the stylesheet colours them, and underlines them for those who see no colours. */
const level = (logprob: number): string => {
  const share = Math.exp(logprob);
  return share > 0.9 ? "p4" : share > 0.6 ? "p3" : share > 0.3 ? "p2" : share > 0.1 ? "p1" : "p0";
};
const visible = (token: string): string => token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣") || "∅";

/** The tokens of an answer; each shows its probability and the alternatives on hover, or with the arrow keys. */
export function Tokens({ tokens }: { tokens: TokenLogprob[] }) {
  const [at, setAt] = useState<number | null>(null);
  const [place, setPlace] = useState({ left: 0, top: 0 });
  const box = useRef<HTMLDivElement>(null);

  const show = (index: number | null): void => {
    setAt(index);
    const token = index === null ? undefined : box.current?.querySelectorAll<HTMLElement>(".token")[index];
    if (!token || !box.current) return;
    const [around, own] = [box.current.getBoundingClientRect(), token.getClientRects()[0]!];
    const left = Math.max(0, Math.min(own.left - around.left, around.width - 240));
    setPlace({ left, top: own.bottom - around.top + 6 });
  };
  const shown = at === null ? undefined : tokens[at];
  return (
    <div class="tokens-box" ref={box} onMouseLeave={() => show(null)}>
      <div
        class="tokens"
        tabIndex={0}
        role="group"
        aria-label="The answer's tokens. The left and right arrow keys go through them."
        onBlur={() => show(null)}
        onKeyDown={(event) => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (event.key === "Escape" && at !== null) {
            event.stopPropagation();
            show(null);
          } else if (step) {
            event.preventDefault();
            show(Math.max(0, Math.min(tokens.length - 1, (at ?? -1) + step)));
          }
        }}
      >
        {tokens.map((token, index) => (
          <span key={index} class={`token ${level(token.logprob)} ${at === index ? "at" : ""}`} onMouseEnter={() => show(index)}>
            {token.token}
          </span>
        ))}
      </div>
      {shown && (
        <div class="alternatives" role="tooltip" style={{ left: `${place.left}px`, top: `${place.top}px` }}>
          <Alternatives token={shown} />
        </div>
      )}
      <div class="hidden" aria-live="polite">
        {shown && `${visible(shown.token)}, ${percent(shown.logprob)}. ${shown.top.map((each) => `${visible(each.token)} ${percent(each.logprob)}`).join(", ")}`}
      </div>
    </div>
  );
}

function Alternatives({ token }: { token: TokenLogprob }) {
  const listed = token.top.some((each) => each.token === token.token) ? token.top : [token, ...token.top];
  return (
    <table>
      <tbody>
        {listed.map((each, place) => (
          <tr key={place} class={each.token === token.token ? "own" : ""}>
            <td><code>{visible(each.token)}</code></td>
            <td>
              <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
                <rect width={Math.exp(each.logprob) * 100} height="8" rx="2" />
              </svg>
            </td>
            <td>{percent(each.logprob)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
