/** HCL, token by token, for CodeMirror's StreamLanguage. */

interface Stream {
  peek(): string | undefined | null;
  next(): string | undefined | void;
  sol(): boolean;
  eol(): boolean;
  eatSpace(): boolean;
  skipToEnd(): void;
  current(): string;
  match(pattern: RegExp, consume?: boolean): boolean | RegExpMatchArray | null;
}

export interface State {
  /** The end of the heredoc one is in. */
  heredoc: string;
  comment: boolean;
}

export function startState(): State {
  return { heredoc: "", comment: false };
}

/** The kind of the next token, as names of @lezer/highlight's tags; null for none. */
export function token(stream: Stream, state: State): string | null {
  if (state.heredoc) return heredoc(stream, state);
  if (state.comment) return comment(stream, state);
  if (stream.eatSpace()) return null;
  if (stream.match(/^(#|\/\/)/)) {
    stream.skipToEnd();
    return "comment";
  }
  if (stream.match(/^\/\*/)) {
    state.comment = true;
    return comment(stream, state);
  }
  const opened = stream.match(/^<<-?([A-Za-z_]\w*)\s*$/);
  if (opened && typeof opened !== "boolean") {
    state.heredoc = opened[1] ?? "";
    return "string";
  }
  if (stream.match(/^"(\\.|\$\{[^}]*\}|[^"\\])*"?/))
    return isName(stream) ? "propertyName" : "string";
  if (stream.match(/^-?\d+(\.\d+)?([eE][+-]?\d+)?/)) return "number";
  if (stream.match(/^(true|false|null)\b/)) return "bool";
  if (stream.match(/^(for|in|if|else|endif|endfor)\b/)) return "keyword";
  if (stream.match(/^[A-Za-z_][\w-]*/)) {
    if (stream.match(/^\s*\(/, false)) return "function";
    return isName(stream) ? "propertyName" : "typeName";
  }
  stream.next();
  return null;
}

function isName(stream: Stream): boolean {
  return Boolean(stream.match(/^\s*[=:](?!=)/, false));
}

function heredoc(stream: Stream, state: State): string {
  if (stream.match(new RegExp(`^\\s*${state.heredoc}\\s*$`))) state.heredoc = "";
  else stream.skipToEnd();
  return "string";
}

function comment(stream: Stream, state: State): string {
  if (stream.match(/^.*?\*\//)) state.comment = false;
  else stream.skipToEnd();
  return "comment";
}
