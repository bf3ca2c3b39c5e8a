import { expect, test } from "vitest";
import { isDirty, NOTHING, reconcile } from "./draft";

const base = { index: 5, text: "red", flags: "0" };
const mine = { base, text: "blue", flags: "0" };

test("a draft goes on from what only its lock made another", () => {
  expect(reconcile(mine, base)).toBe("same");
  expect(reconcile(mine, { ...base, index: 6 })).toBe("rebase");
});

test("a draft is dropped when it says nothing else", () => {
  expect(reconcile({ ...mine, text: "red" }, { ...base, index: 6, text: "green" })).toBe("drop");
  expect(reconcile(mine, { ...base, index: 6, text: "blue" })).toBe("drop");
});

test("what another wrote or deleted is asked about", () => {
  expect(reconcile(mine, { ...base, index: 6, text: "green" })).toBe("conflict");
  expect(reconcile(mine, { ...base, index: 6, flags: "1" })).toBe("conflict");
  expect(reconcile(mine, NOTHING)).toBe("conflict");
  expect(isDirty({ ...mine, text: "red" })).toBe(false);
  expect(isDirty({ ...mine, text: "red", flags: "2" })).toBe(true);
});
