/** Loaded when the first formula appears. */
import temml from "temml";

/** TeX as MathML; null where it can't be read. */
export function formula(tex: string, display: boolean): string | null {
  try {
    return temml.renderToString(tex, { displayMode: display, throwOnError: true, trust: false, maxExpand: 200 });
  } catch {
    return null;
  }
}
