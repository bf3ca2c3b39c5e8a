export const code = {
  keys: "Tab indents; Escape, then Tab leaves the editor. Ctrl-S reviews and saves.",
  keep: "Keep mine",
  take: "Take theirs",
  tooLong: "Too long to be compared here: download both to compare them.",
  noDifference: "No difference in the text.",
};
