import { expect, test } from "vitest";
import { flagsIn, fromBase64, hexRows, sizeText, textOf } from "./bytes";

test("bytes come from base64, and null is nothing", () => {
  expect([...fromBase64("AAH/")]).toEqual([0, 1, 255]);
  expect(fromBase64(null)).toHaveLength(0);
});

test("text is UTF-8 without control characters, byte for byte", () => {
  const bytes = new TextEncoder().encode("\ufeffשלום\r\n\t€");
  expect(textOf(bytes)).toBe("\ufeffשלום\r\n\t€");
  expect(textOf(new Uint8Array([0x61, 0]))).toBeNull();
  expect(textOf(new Uint8Array([0xff, 0xfe]))).toBeNull();
});

test("sizes are short", () => {
  expect([0, 1023, 1024, 1536, 500 * 1024, 3 * 1024 * 1024].map(sizeText)).toEqual([
    "0 B",
    "1023 B",
    "1 KiB",
    "1.5 KiB",
    "500 KiB",
    "3 MiB",
  ]);
});

test("rows show where, the bytes and their letters, and stop", () => {
  const bytes = Uint8Array.from({ length: 40 }, (_, i) => i + 60);
  const rows = hexRows(bytes, 20).split("\n");
  expect(rows).toHaveLength(2);
  expect(rows[0]).toBe("000000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK");
  expect(rows[1]).toMatch(/^000010 {2}4c 4d 4e 4f +LMNO$/);
});

test("flags keep all of their 64 bits, whatever the key is called", () => {
  const key = JSON.stringify('"Flags": 5');
  expect(flagsIn(`[{"Key": ${key}, "Flags": 18446744073709551615, "Value": null}]`)).toBe(
    "18446744073709551615",
  );
});
