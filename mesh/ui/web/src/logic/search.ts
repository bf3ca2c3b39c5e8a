/** Searching lists: by text, or by the API's filter language. */

const OPERATORS = /(==|!=|\bcontains\b|\bmatches\b|\bin\b|\bis\s+(not\s+)?empty\b|\bnot\s+)/;

/** Whether a search is a filter of the API (docs/filtering.md) rather than plain text. */
export function isFilter(search: string): boolean {
  return OPERATORS.test(search.trim()) && /\s|==|!=/.test(search.trim());
}

/** Whether all words of a search are in one of these texts, capitals or not. */
export function matches(search: string, ...texts: string[]): boolean {
  return matcher(search)(texts);
}

/** The same, for many rows: the search is read once. */
export function matcher(search: string): (texts: readonly string[]) => boolean {
  const wanted = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return () => true;
  return (texts) => {
    const all = texts.join("\n").toLowerCase();
    return wanted.every((word) => all.includes(word));
  };
}

/**
 * How well a name fits what was typed, for a list in which the best comes first: its letters in
 * order, the closer together and the nearer to beginnings of words the better. 0 if not at all.
 */
export function closeness(typed: string, name: string): number {
  const wanted = typed.toLowerCase().replace(/\s+/g, "");
  const text = name.toLowerCase();
  if (!wanted) return 1;
  const at = text.indexOf(wanted);
  if (at >= 0) return 1000 - at - text.length / 100 + (isStart(text, at) ? 500 : 0);
  let score = 100;
  let from = 0;
  for (const letter of wanted) {
    const found = text.indexOf(letter, from);
    if (found < 0) return 0;
    score -= (found - from) * (isStart(text, found) ? 0.1 : 1);
    from = found + 1;
  }
  return Math.max(score, 0.01);
}

function isStart(text: string, at: number): boolean {
  return at === 0 || /[^a-z0-9]/.test(text[at - 1] ?? "");
}
