import { place } from "../live/place";
import { isFolder } from "../logic/keys";
import type { PageProps } from "../routes";
import { Folder } from "./kv/folder";
import { KeyPage } from "./kv/key";
import "./kv.css";

export default function Kv({ rest }: PageProps) {
  const path = place.value.query.get("key") ?? rest[0] ?? "";
  if (isFolder(path)) return <Folder key={path} folder={path} />;
  return <KeyPage key={path} name={path} tab={rest[1] ?? "value"} />;
}
