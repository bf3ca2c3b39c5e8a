import { expect, test } from "vitest";
import { payload } from "./payload";

const base64 = (...bytes: number[]) => btoa(String.fromCharCode(...bytes));

test("text is text, in any alphabet", () => {
  expect(payload(btoa("53"))).toEqual({ bytes: 2, text: "53", hex: "35 33" });
  expect(payload(base64(0xd7, 0xa9)).text).toBe("ש");
  expect(payload(base64(0x61, 0x0a, 0x09)).text).toBe("a\n\t");
});

test("what is no text is shown by its bytes", () => {
  expect(payload(base64(0xff, 0xfe))).toEqual({ bytes: 2, text: null, hex: "ff fe" });
  expect(payload(base64(0)).text).toBeNull();
  expect(payload(base64(...Array(40).fill(1))).hex.split("\n")).toHaveLength(3);
});

test("nothing, and what is no base64, harm nobody", () => {
  expect(payload(null)).toEqual({ bytes: 0, text: "", hex: "" });
  expect(payload("%").text).toBe("%");
});
