/** Prepared queries: as the API has them, as a form has them, and as a command. */

export interface Query {
  ID?: string;
  Name: string;
  Session: string;
  Token: string;
  Template: { Type: string; Regexp: string; RemoveEmptyTags: boolean };
  Service: {
    Service: string;
    Failover: { NearestN: number; Datacenters: string[]; Targets: { Datacenter: string }[] };
    OnlyPassing: boolean;
    IgnoreCheckIDs: string[];
    Near: string;
    Tags: string[];
    NodeMeta: Record<string, string>;
    ServiceMeta: Record<string, string>;
    Connect: boolean;
  };
  DNS: { TTL: string };
  CreateIndex?: number;
  ModifyIndex?: number;
}

/** What a form has: texts, lists separated by commas, and `yes` for what is switched on. */
export type Form = Record<string, string>;

export const BLANK: Query = {
  Name: "",
  Session: "",
  Token: "",
  Template: { Type: "", Regexp: "", RemoveEmptyTags: false },
  Service: {
    Service: "",
    Failover: { NearestN: 0, Datacenters: [], Targets: [] },
    OnlyPassing: false,
    IgnoreCheckIDs: [],
    Near: "",
    Tags: [],
    NodeMeta: {},
    ServiceMeta: {},
    Connect: false,
  },
  DNS: { TTL: "" },
};

const TEMPLATE = "name_prefix_match";

export function isTemplate(query: Query): boolean {
  return query.Template.Type !== "";
}

function list(text = ""): string[] {
  return text
    .split(",")
    .map((one) => one.trim())
    .filter(Boolean);
}

function pairs(text = ""): Record<string, string> {
  return Object.fromEntries(
    list(text).map((one) => {
      const at = one.indexOf("=");
      return at < 0 ? [one, ""] : [one.slice(0, at).trim(), one.slice(at + 1).trim()];
    }),
  );
}

function pairsText(given: Record<string, string>): string {
  return Object.entries(given)
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");
}

const yes = (on: boolean) => (on ? "yes" : "");

export function toForm(query: Query): Form {
  const { Service: service, Template: template } = query;
  return {
    name: query.Name,
    service: service.Service,
    tags: service.Tags.join(", "),
    passing: yes(service.OnlyPassing),
    connect: yes(service.Connect),
    near: service.Near,
    nearest: service.Failover.NearestN ? String(service.Failover.NearestN) : "",
    failover: service.Failover.Datacenters.join(", "),
    ignore: service.IgnoreCheckIDs.join(", "),
    nodeMeta: pairsText(service.NodeMeta),
    serviceMeta: pairsText(service.ServiceMeta),
    ttl: query.DNS.TTL,
    template: yes(isTemplate(query)),
    regexp: template.Regexp,
    removeEmpty: yes(template.RemoveEmptyTags),
  };
}

/** The query that a form comes to; what the form does not have stays as it was. */
export function fromForm(form: Form, before: Query): Query {
  const template = form.template === "yes";
  return {
    ...before,
    Name: (form.name ?? "").trim(),
    Template: template
      ? {
          Type: before.Template.Type || TEMPLATE,
          Regexp: form.regexp ?? "",
          RemoveEmptyTags: form.removeEmpty === "yes",
        }
      : BLANK.Template,
    Service: {
      ...before.Service,
      Service: (form.service ?? "").trim(),
      Tags: list(form.tags),
      OnlyPassing: form.passing === "yes",
      Connect: form.connect === "yes",
      Near: (form.near ?? "").trim(),
      IgnoreCheckIDs: list(form.ignore),
      NodeMeta: pairs(form.nodeMeta),
      ServiceMeta: pairs(form.serviceMeta),
      Failover: {
        ...before.Service.Failover,
        NearestN: Number(form.nearest) || 0,
        Datacenters: list(form.failover),
      },
    },
    DNS: { TTL: (form.ttl ?? "").trim() },
  };
}

/** Whether a form can show all of the query: no value has what separates values. */
export function fitsForm(query: Query): boolean {
  const { Service: service } = query;
  const texts = [
    ...service.Tags,
    ...service.IgnoreCheckIDs,
    ...service.Failover.Datacenters,
    ...Object.entries(service.NodeMeta).flat(),
    ...Object.entries(service.ServiceMeta).flat(),
  ];
  return texts.every((text) => !text.includes(",") && text === text.trim());
}

/** The query that a text in JSON is; throws in words when it is none. */
export function parse(text: string): Query {
  const given: unknown = JSON.parse(text);
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw new Error('Expected an object, as { "Name": … }.');
  return given as Query;
}

/** The same as JSON without its indexes and id. */
export function toJson(query: Query): string {
  const shown = Object.entries(query).filter(
    ([name]) => !["ID", "CreateIndex", "ModifyIndex"].includes(name),
  );
  return JSON.stringify(Object.fromEntries(shown), null, 2);
}

/** A parsed object with all that a query has, so that it can be shown. */
export function complete(given: Partial<Query>): Query {
  const service = { ...BLANK.Service, ...given.Service };
  return {
    ...BLANK,
    ...given,
    Template: { ...BLANK.Template, ...given.Template },
    Service: { ...service, Failover: { ...BLANK.Service.Failover, ...service.Failover } },
    DNS: { ...BLANK.DNS, ...given.DNS },
  };
}

/** The flags of `meshctl query create`; null when a query has more than they can say. */
export function flagsOf(query: Query): [string, string][] | null {
  const { Service: service, Template: template } = query;
  if (service.Failover.Targets.length || !service.Service) return null;
  if (template.Type && template.Type !== TEMPLATE) return null;
  const flags: [string, string][] = [];
  const add = (name: string, value: string | boolean) => {
    if (value === true) flags.push([name, ""]);
    else if (value) flags.push([name, value]);
  };
  add("name", query.Name);
  add("service", service.Service);
  for (const tag of service.Tags) add("tag", tag);
  for (const [name, value] of Object.entries(service.NodeMeta))
    add("node-meta", `${name}=${value}`);
  for (const [name, value] of Object.entries(service.ServiceMeta))
    add("service-meta", `${name}=${value}`);
  add("only-passing", service.OnlyPassing);
  add("connect", service.Connect);
  for (const one of service.IgnoreCheckIDs) add("ignore-check", one);
  add("near", service.Near);
  for (const one of service.Failover.Datacenters) add("failover", one);
  add("failover-nearest", service.Failover.NearestN ? String(service.Failover.NearestN) : "");
  add("ttl", query.DNS.TTL);
  add("session", query.Session);
  add("query-token", query.Token);
  add("template", Boolean(template.Type));
  add("regexp", template.Regexp);
  add("remove-empty-tags", template.RemoveEmptyTags);
  return flags;
}

/** Where a query looks when there is none here, in order. */
export function failoverOf(query: Query): string[] {
  const { NearestN: nearest, Datacenters: named, Targets: targets } = query.Service.Failover;
  if (targets.length) return targets.map((one) => one.Datacenter);
  return [...(nearest ? [`nearest ${nearest}`] : []), ...named];
}
