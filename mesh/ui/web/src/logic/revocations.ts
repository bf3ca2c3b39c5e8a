/** Certificates of nodes that servers refuse: what is on the list, and how one gets there. */

import { commandLine } from "./shell";

export interface Revoked {
  SerialNumber: string;
  /** Empty: whoever signed it. */
  Issuer: string;
  Names: string[];
  Reason: string;
  By: string;
  Time: string;
  /** Empty where nobody knows. */
  Expires: string;
}

/** Which certificate somebody means; both empty when what was pasted names none. */
export interface Meant {
  Certificate: string;
  SerialNumber: string;
}

const PEM = /-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[^-]*-----END \1-----/;

/**
 * What is meant by a serial number or by the text of a file: of the file only its first
 * certificate, since keys lie in such files too and are nobody's business.
 */
export function meant(text: string): Meant {
  if (!text.includes("-----")) return { Certificate: "", SerialNumber: text.trim() };
  return { Certificate: PEM.exec(text)?.[0] ?? "", SerialNumber: "" };
}

/** The command that revokes it. A certificate is named by its file, which nobody knows here. */
export function revokeCommand(one: Meant, reason: string, force: boolean): string {
  const which = one.SerialNumber || "FILE";
  const flags = [...(reason ? ["--reason", reason] : []), ...(force ? ["--force"] : [])];
  return commandLine("meshctl tls revoke", [which], flags);
}

export function unrevokeCommand(one: Revoked): string {
  return commandLine("meshctl tls unrevoke", [one.SerialNumber]);
}

/** What a list calls it: its first name, or its number where no name is known. */
export function called(one: Revoked): string {
  return one.Names[0] ?? one.SerialNumber;
}
