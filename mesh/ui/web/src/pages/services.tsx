import type { PageProps } from "../routes";
import "./services.css";
import { InstancePage } from "./services/instance";
import { ServiceList } from "./services/list";
import { ServicePage } from "./services/service";

/** `services`, `services/NAME/TAB` and `services/NAME/instances/NODE/ID`. */
export default function Services({ rest }: PageProps) {
  const [name, tab, node, id] = rest;
  if (!name) return <ServiceList />;
  if (tab === "instances" && node && id)
    return <InstancePage key={rest.join("/")} service={name} node={node} id={id} />;
  return <ServicePage key={name} name={name} tab={tab ?? ""} />;
}
