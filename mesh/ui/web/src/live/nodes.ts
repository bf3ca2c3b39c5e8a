/** What the API says of nodes, members and sessions. */

import { isHere } from "./api";
import { usePolled } from "./steady";

export interface ListedNode {
  Node: string;
  ID: string;
  Address: string;
  Meta: Record<string, string>;
  Status: string;
  ChecksPassing: number;
  ChecksWarning: number;
  ChecksCritical: number;
  ChecksMaintenance: number;
  Services: string[];
  Instances: number;
  Meshed: number;
  Version: string;
  Server: boolean;
}

export interface Check {
  Node: string;
  CheckID: string;
  Name: string;
  Status: string;
  Notes: string;
  Output: string;
  ServiceID: string;
  ServiceName: string;
  Type: string;
  Interval?: string;
  Timeout?: string;
}

export interface ServiceRow {
  ID: string;
  Service: string;
  Kind?: string;
  Tags: string[];
  Address: string;
  Port: number;
  SocketPath?: string;
}

export interface NodeDump {
  ID: string;
  Node: string;
  Address: string;
  Datacenter: string;
  TaggedAddresses: Record<string, string> | null;
  Meta: Record<string, string> | null;
  Services: ServiceRow[];
  Checks: Check[];
  Locality?: { Region: string; Zone: string };
}

export interface Session {
  ID: string;
  Name: string;
  Node: string;
  /** Nanoseconds. */
  LockDelay: number;
  Behavior: string;
  TTL: string;
  NodeChecks: string[];
  ServiceChecks: { ID: string }[] | null;
  CreateIndex: number;
}

/** What mesh/http/glances.py adds to it. */
export interface HeldSession extends Session {
  Held: number;
  Keys: string[];
  BegunAfter: string;
  BegunBefore: string;
}

export interface Figures {
  Incarnation: number;
  State: string;
  StateSeconds: number | null;
  RttSeconds: number | null;
  AnsweredSeconds: number | null;
  DistanceSeconds: number | null;
  Accusers: string[];
  VerdictSeconds: number | null;
  Score: number | null;
}

export interface Member {
  Name: string;
  Addr: string;
  Port: number;
  Tags: Record<string, string>;
  Status: number;
  ProtocolMin: number;
  ProtocolMax: number;
  ProtocolCur: number;
  Frozen: boolean;
  Penalty: number;
  Damped: boolean;
  Gossip?: Figures;
}

export interface Maintenance {
  Node: string;
  Service: string;
  ServiceID: string;
  Reason: string;
  Owner: string;
  Since: string;
  Until: string;
}

const AN_HOUR = 3600;

/** The name of the node that the page came from; empty until it is known. Not what is shown. */
export function useSelf(): string {
  const found = usePolled<{ Config: { NodeName: string } }>("/v1/agent/self", AN_HOUR);
  return found.value?.Config.NodeName ?? "";
}

/** The same as long as its datacenter is shown: a node of that name elsewhere is another one. */
export function useSelfHere(): string {
  const self = useSelf();
  return isHere() ? self : "";
}
