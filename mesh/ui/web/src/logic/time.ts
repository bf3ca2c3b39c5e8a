/** Times as people say them. */

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31536000],
  ["month", 2592000],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];
// Made when first needed: a browser takes tens of milliseconds to load its tables for them.
let inWords: Intl.RelativeTimeFormat | undefined;
let inFigures: Intl.DateTimeFormat | undefined;

/** `3 min. ago`, `in 2 days`: from now to then, both in ms since the epoch. */
export function relative(then: number, now: number): string {
  inWords ??= new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
  const seconds = Math.round((then - now) / 1000);
  for (const [unit, size] of UNITS)
    if (Math.abs(seconds) >= size) return inWords.format(Math.trunc(seconds / size), unit);
  return inWords.format(0, "second");
}

export function exact(then: number): string {
  inFigures ??= new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "long" });
  return inFigures.format(then);
}

/** `1.5 s`, `250 ms`, `3 h 20 min`: a span of seconds. */
export function span(seconds: number): string {
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    const rest = Math.floor(seconds % 60);
    return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  }
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** Ms since the epoch from what the API gives: RFC 3339, seconds, or ms; NaN when it is none. */
export function instant(given: string | number | undefined): number {
  if (given === undefined || given === "" || given === 0) return Number.NaN;
  if (typeof given === "number") return given < 1e11 ? given * 1000 : given;
  const found = Date.parse(given);
  return found > 0 ? found : Number.NaN;
}

/** `3.2 MB`: a number of bytes. */
export function bytes(count: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = count;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit ? size.toPrecision(3) : size} ${units[unit]}`;
}
