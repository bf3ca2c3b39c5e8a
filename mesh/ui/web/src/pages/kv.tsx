import { place } from "../live/place";
import { tabOf } from "../logic/address";
import { isFolder } from "../logic/keys";
import type { PageProps } from "../routes";
import { Folder } from "./kv/folder";
import { KeyPage } from "./kv/key";
import "./kv.css";

const TABS = ["value", "history"] as const;

export default function Kv({ rest }: PageProps) {
  const tab = tabOf(TABS, rest[1]);
  // A path by hand may have bare slashes: what follows is then no tab, but more of the key.
  const named = rest.length > 1 && tab !== rest[1] ? rest.join("/") : rest[0];
  const path = place.value.query.get("key") ?? named ?? "";
  if (isFolder(path)) return <Folder key={path} folder={path} />;
  return <KeyPage key={path} name={path} tab={tab} />;
}
