import { expect, test } from "vitest";
import { called, meant, revokeCommand, unrevokeCommand, type Revoked } from "./revocations";

const one = "-----BEGIN CERTIFICATE-----\nMAUCAQE=\n-----END CERTIFICATE-----";
const key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----";

test("a number is a number, and of a file only its first certificate counts", () => {
  expect(meant(" 5A:0F ")).toEqual({ Certificate: "", SerialNumber: "5A:0F" });
  expect(meant(`${key}\n${one}\n${one.replace("MAUC", "MAUD")}`)).toEqual({
    Certificate: one,
    SerialNumber: "",
  });
});

test("a key is never sent on", () => {
  expect(meant(key)).toEqual({ Certificate: "", SerialNumber: "" });
  expect(meant(`${one.slice(0, 40)}\n${key}`).Certificate).toBe("");
});

test("commands name what the dialog names", () => {
  expect(revokeCommand(meant("5A:0F"), "laptop stolen", true)).toBe(
    "meshctl tls revoke 5A:0F --reason 'laptop stolen' --force",
  );
  expect(revokeCommand(meant(one), "", false)).toBe("meshctl tls revoke FILE");
  const row = { SerialNumber: "5A0F", Names: [] as string[] } as Partial<Revoked> as Revoked;
  expect(unrevokeCommand(row)).toBe("meshctl tls unrevoke 5A0F");
  expect(called(row)).toBe("5A0F");
  expect(called({ ...row, Names: ["client.dc1.mesh", "localhost"] })).toBe("client.dc1.mesh");
});
