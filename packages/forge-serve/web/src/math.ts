/** Loaded when the first formula appears. */
import temml from "temml";

/** TeX as MathML; null where it can't be read. */
export function formula(tex: string, display: boolean): string | null {
  try {
    const drawn = temml.renderToString(tex, { displayMode: display, throwOnError: true, trust: false, maxExpand: 200 });
    return drawn.replace(/ (?:style|class)="[^"]*"/g, ""); // our policy permits none, and browsers report each
  } catch {
    return null;
  }
}
