/** The mesh's authority: its roots, how far a rotation is, and how much of a life is left. */

export interface Root {
  ID: string;
  Name: string;
  SerialNumber: number;
  NotBefore: string;
  NotAfter: string;
  RootCert: string;
  IntermediateCerts: string[];
  Active: boolean;
  PrivateKeyType: string;
  PrivateKeyBits: number;
}

export interface Roots {
  ActiveRootID: string;
  TrustDomain: string;
  Roots: Root[];
}

export interface Rotation {
  Phase: "steady" | "prepared" | "activated";
  Workloads: number;
  Roots: { ID: string; Standing: string; Believed: number; Leaves: number }[];
  Waiting: string[];
  Next: string;
}

export type Standing = "active" | "prepared" | "past";

export interface RootRow extends Root {
  standing: Standing;
  /** Of `workloads`; undefined where nobody can say. */
  believed: number | undefined;
  leaves: number | undefined;
  workloads: number;
}

/** The roots with what the workloads say of each. */
export function rootRows(roots: Roots, rotation: Rotation | undefined): RootRow[] {
  const said = new Map((rotation?.Roots ?? []).map((one) => [one.ID, one]));
  return roots.Roots.map((one) => {
    const progress = said.get(one.ID);
    return {
      ...one,
      standing: (progress?.Standing as Standing | undefined) ?? (one.Active ? "active" : "past"),
      believed: progress?.Believed,
      leaves: progress?.Leaves,
      workloads: rotation?.Workloads ?? 0,
    };
  });
}

/** Which part of a life is over, 0 to 1; NaN when the dates make no sense. */
export function spent(from: string, until: string, now: number): number {
  const [begin, end] = [Date.parse(from), Date.parse(until)];
  return end > begin ? Math.min(1, Math.max(0, (now - begin) / (end - begin))) : Number.NaN;
}

/** How near the end is: `over`, `soon` (as the server warns), or `good`. */
export function horizon(from: string, until: string, now: number): "over" | "soon" | "good" {
  const part = spent(from, until, now);
  if (Number.isNaN(part) || part >= 1) return "over";
  const left = Date.parse(until) - now;
  const life = Date.parse(until) - Date.parse(from);
  return left <= Math.min(60 * 86_400_000, life / 10) ? "soon" : "good";
}

/** The flags of a step of a rotation. */
export function stepFlags(values: Record<string, string>): string {
  if (values["force"]) return " --force";
  const share = Number(values["threshold"] ?? 100);
  return share < 100 ? ` --threshold ${share}%` : "";
}

/** The same as parameters of the API. */
export function stepQuery(values: Record<string, string>): Record<string, string | boolean> {
  if (values["force"]) return { force: true };
  const share = Number(values["threshold"] ?? 100);
  return share < 100 ? { threshold: String(share / 100) } : {};
}
