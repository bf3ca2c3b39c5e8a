import type { PageProps } from "../routes";
import { QueryDetail } from "./queries/detail";
import { QueryList } from "./queries/list";
import "./queries.css";

export default function Queries({ rest }: PageProps) {
  const [id] = rest;
  return id ? <QueryDetail key={id} id={id} /> : <QueryList />;
}
