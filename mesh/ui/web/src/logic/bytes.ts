/** Values as bytes: from and to base64, as text where they are text, and as hexadecimal rows. */

/** The bytes of a value as the API gives it; null is an empty one. */
export function fromBase64(value: string | null | undefined): Uint8Array {
  if (!value) return new Uint8Array();
  const text = atob(value);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Control characters that no text has, but for tabs and ends of lines. */
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/;

/** The text that these bytes are; null when they are none. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return CONTROL.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** A size in bytes as people read it. */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${trimmed(bytes / 1024)} KiB`;
  return `${trimmed(bytes / 1024 / 1024)} MiB`;
}

function trimmed(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0).replace(/\.0$/, "");
}

const ROW = 16;

/** The first bytes as rows of sixteen: where, in hexadecimal, and as ASCII. */
export function hexRows(bytes: Uint8Array, most: number): string {
  const rows: string[] = [];
  for (let at = 0; at < Math.min(bytes.length, most); at += ROW) {
    const some = [...bytes.subarray(at, Math.min(at + ROW, most))];
    const hex = some.map((byte) => byte.toString(16).padStart(2, "0"));
    const ascii = some.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "."));
    rows.push(
      `${at.toString(16).padStart(6, "0")}  ${hex.join(" ").padEnd(ROW * 3 - 1)}  ${ascii.join("")}`,
    );
  }
  return rows.join("\n");
}

/** The digits of `Flags` in the JSON of a pair: 64 bits, more than a number holds. */
export function flagsIn(json: string): string {
  return /"Flags":\s*(\d+)/.exec(json)?.[1] ?? "";
}
