/** Bytes that the API gives as base64: text if they are some, else what they are. */

export interface Payload {
  bytes: number;
  /** The text; null when the bytes are none. */
  text: string | null;
  /** The first bytes in hexadecimal, for what is no text. */
  hex: string;
}

const HEX_BYTES = 256;
/** Control characters that no text has; tabs and ends of lines are fine. */
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/;

/** What is in a value of the API; null and undefined are empty. */
export function payload(base64: string | null | undefined): Payload {
  let raw: Uint8Array;
  try {
    raw = Uint8Array.from(atob(base64 ?? ""), (letter) => letter.charCodeAt(0));
  } catch {
    return { bytes: 0, text: base64 ?? "", hex: "" };
  }
  return { bytes: raw.length, text: textOf(raw), hex: hexOf(raw.subarray(0, HEX_BYTES)) };
}

function textOf(raw: Uint8Array): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
    return CONTROL.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** Pairs of digits, sixteen in a line. */
export function hexOf(raw: Uint8Array): string {
  const pairs = [...raw].map((byte) => byte.toString(16).padStart(2, "0"));
  const lines: string[] = [];
  for (let i = 0; i < pairs.length; i += 16) lines.push(pairs.slice(i, i + 16).join(" "));
  return lines.join("\n");
}
