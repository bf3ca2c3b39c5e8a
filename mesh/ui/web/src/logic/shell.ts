/** Words as a shell takes them. */

/** What is not to be seen, or turns the order of what is: terminals and readers are misled by it. */
const UNSEEN = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Quote a word for a shell, if it needs that. What is not to be seen is spelled out. */
export function quoted(word: string): string {
  // zsh reads a word that begins with `=` as the path of a command.
  if (/^[\w@%+:,./-][\w@%+=:,./-]*$/.test(word)) return word;
  if (word.search(UNSEEN) < 0) return `'${word.replaceAll("'", "'\\''")}'`;
  return `$'${word.replace(/[\\']/g, "\\$&").replaceAll("\n", "\\n").replace(UNSEEN, spelled)}'`;
}

function spelled(sign: string): string {
  const code = sign.charCodeAt(0);
  return code < 0x80
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u${code.toString(16).padStart(4, "0")}`;
}

/**
 * A command with its arguments and flags, each quoted where it needs that. An argument that looks
 * like a flag stays an argument.
 */
export function commandLine(name: string, args: string[], flags: string[] = []): string {
  const [said, given] = [args.map(quoted), flags.map(quoted)];
  const odd = args.some((one) => one.startsWith("-"));
  return (odd ? [name, ...given, "--", ...said] : [name, ...said, ...given]).join(" ");
}

/** A command that is given this text: `echo` of some shells would read backslashes in it. */
export function fed(text: string, command: string): string {
  return `printf '%s' ${quoted(text)} | ${command}`;
}
