/** The address of a page as data. */

export interface Place {
  /** The datacenter of the address; empty before one is chosen. */
  dc: string;
  /** What follows it, decoded part by part: a key with slashes is one part. */
  parts: string[];
  query: URLSearchParams;
}

/**
 * A part of an address. Browsers take parts that are only dots for steps within the path, however
 * they are spelled: they get a tilde before them, and so does what would look like that.
 */
export function part(text: string): string {
  return (/^~*\.{1,2}$/.test(text) ? "~" : "") + encodeURIComponent(text);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text).replace(/^~(~*\.{1,2})$/, "$1");
  } catch {
    return text;
  }
}

/** The tab that an address names, or the first where it names none that there is. */
export function tabOf<T extends string>(tabs: readonly [T, ...T[]], given: string | undefined): T {
  return tabs.find((one) => one === given) ?? tabs[0];
}

/** The place that an address means. */
export function read(pathname: string, search: string, base: string): Place {
  const rest = pathname.startsWith(base) ? pathname.slice(base.length) : "";
  const parts = rest.split("/").filter((part) => part !== "");
  const [dc = "", ...after] = parts.map(decoded);
  return { dc, parts: after, query: new URLSearchParams(search) };
}
