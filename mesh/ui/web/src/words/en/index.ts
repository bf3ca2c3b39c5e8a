import { certificates } from "./certificates";
import { code } from "./code";
import { events } from "./events";
import { history } from "./history";
import { intentions } from "./intentions";
import { kv } from "./kv";
import { members } from "./members";
import { nodes } from "./nodes";
import { now } from "./now";
import { palette } from "./palette";
import { parts } from "./parts";
import { queries } from "./queries";
import { servers } from "./servers";
import { services } from "./services";
import { sessions } from "./sessions";
import { shell } from "./shell";

export const en = {
  certificates,
  code,
  events,
  history,
  intentions,
  kv,
  members,
  nodes,
  now,
  palette,
  parts,
  queries,
  servers,
  services,
  sessions,
  shell,
};
