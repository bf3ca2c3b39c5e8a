/** Which syntax a value has, and what is wrong with it. */

export const SYNTAXES = ["json", "yaml", "hcl", "plain"] as const;
export type Syntax = (typeof SYNTAXES)[number];

const BY_NAME: [RegExp, Syntax][] = [
  [/\.json$/i, "json"],
  [/\.ya?ml$/i, "yaml"],
  [/\.(hcl|tf|tfvars|nomad)$/i, "hcl"],
  [/\.(txt|md|sh|ini|conf|toml|xml|html?)$/i, "plain"],
];
const LOOKED_AT = 4000;
const JSON_CHECKED_MAX = 512 * 1024;

/** The syntax that a key's name and value speak for. */
export function guess(name: string, text: string): Syntax {
  for (const [ending, syntax] of BY_NAME) if (ending.test(name)) return syntax;
  const start = text.slice(0, LOOKED_AT).trimStart();
  if (/^[{[]/.test(start)) return "json";
  const lines = start.split("\n").filter((line) => line.trim() && !/^\s*(#|\/\/)/.test(line));
  if (!lines.length) return "plain";
  const share = (pattern: RegExp) =>
    lines.filter((line) => pattern.test(line)).length / lines.length;
  if (/^[\w-]+(\s+("[^"]*"|[\w-]+))*\s*\{\s*$/m.test(start)) return "hcl";
  if (lines.length > 1 && share(/^\s*[\w-]+\s*=\s*(["'[{]|[\d.]+\s*$|true|false|<<)/) > 0.6)
    return "hcl";
  if (start.startsWith("---")) return "yaml";
  if (share(/^\s*(- |-$|["']?[\w./-]+["']?:(\s|$))/) > 0.6) return "yaml";
  return "plain";
}

/** Why a text is no JSON; empty when it is, or when it is too long to tell at each key. */
export function jsonError(text: string): string {
  if (text.length > JSON_CHECKED_MAX) return "";
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
