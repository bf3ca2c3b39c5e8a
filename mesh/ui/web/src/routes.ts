/** The pages: where each lies, what it is called, and the module that shows it. */

import {
  Activity,
  Award,
  Boxes,
  Clock3,
  Database,
  HardDrive,
  type Icon,
  Megaphone,
  Network,
  Search,
  Server,
  ShieldCheck,
  Timer,
} from "./parts/icons";
import type { ComponentType } from "preact";
import { words } from "./words";

/** What a page is given: the parts of its address after those that chose it. */
export interface PageProps {
  rest: string[];
}

export interface Route {
  /** The first part of the address; `""` is the page at the datacenter itself. */
  key: string;
  text: string;
  /** Typed after `g`, it leads here. */
  letter: string;
  icon: Icon;
  group: keyof typeof words.shell.groups;
  load: () => Promise<{ default: ComponentType<PageProps> }>;
  /** What of the API it shows at first, where that is much. */
  shows?: string[];
}

const p = words.shell.pages;

export const ROUTES: Route[] = [
  {
    key: "",
    text: p.now,
    letter: "n",
    icon: Activity,
    group: "look",
    load: () => import("./pages/now"),
    shows: ["/v1/internal/ui/now"],
  },
  {
    key: "services",
    text: p.services,
    letter: "s",
    icon: Boxes,
    group: "look",
    load: () => import("./pages/services"),
    shows: ["/v1/internal/ui/service-list"],
  },
  {
    key: "nodes",
    text: p.nodes,
    letter: "o",
    icon: HardDrive,
    group: "look",
    load: () => import("./pages/nodes"),
    shows: ["/v1/internal/ui/node-list", "/v1/coordinate/nodes", "/v1/operator/raft/configuration"],
  },
  {
    key: "kv",
    text: p.kv,
    letter: "k",
    icon: Database,
    group: "data",
    load: () => import("./pages/kv"),
  },
  {
    key: "queries",
    text: p.queries,
    letter: "q",
    icon: Search,
    group: "data",
    load: () => import("./pages/queries"),
  },
  {
    key: "sessions",
    text: p.sessions,
    letter: "l",
    icon: Timer,
    group: "data",
    load: () => import("./pages/sessions"),
  },
  {
    key: "intentions",
    text: p.intentions,
    letter: "i",
    icon: ShieldCheck,
    group: "secure",
    load: () => import("./pages/intentions"),
    shows: ["/v1/internal/ui/intention-matrix"],
  },
  {
    key: "certificates",
    text: p.certificates,
    letter: "c",
    icon: Award,
    group: "secure",
    load: () => import("./pages/certificates"),
  },
  {
    key: "servers",
    text: p.servers,
    letter: "r",
    icon: Server,
    group: "run",
    load: () => import("./pages/servers"),
  },
  {
    key: "members",
    text: p.members,
    letter: "m",
    icon: Network,
    group: "run",
    load: () => import("./pages/members"),
  },
  {
    key: "events",
    text: p.events,
    letter: "e",
    icon: Megaphone,
    group: "run",
    load: () => import("./pages/events"),
  },
  {
    key: "history",
    text: p.history,
    letter: "h",
    icon: Clock3,
    group: "run",
    load: () => import("./pages/history"),
  },
];
