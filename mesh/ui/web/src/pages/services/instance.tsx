/** An instance: its checks, its sidecar with upstreams and exposed paths, where it is reached. */

import { api } from "../../live/api";
import { useLive } from "../../live/live";
import { go, to } from "../../live/place";
import { type Entry, type InstanceRow, type Proxy, instancesOf } from "../../logic/services";
import { ActButton, quoted } from "../../parts/act";
import { Badge, Data, Empty, Facts, Loaded, Panel, StatusBadge, Tags } from "../../parts/basics";
import { Page } from "../../parts/page";
import { words } from "../../words";
import { Checks } from "./checks";
import { DeregisterButton } from "./deregister";
import { SidecarBadge } from "./instances";
import { type Maintained, MaintenancePanel, about, begin } from "./maintenance";

const w = words.services.one;

export function InstancePage({ service, node, id }: { service: string; node: string; id: string }) {
  const live = useLive<Entry[]>(api`/v1/health/service/${service}`);
  const proxies = useLive<Entry[]>(api`/v1/health/connect/${service}`).value ?? [];
  const maintained = useLive<Maintained[]>("/v1/maintenance").value ?? [];
  const entry = live.value?.find(
    (one) => one.Service.ID === id && one.Node.Node.toLowerCase() === node.toLowerCase(),
  );
  const row = entry && instancesOf([entry], proxies)[0];
  const target = { node, id };
  const resting = about(target, maintained);
  return (
    <Page
      title={id}
      crumbs={[
        { text: words.shell.pages.services, at: ["services"] },
        { text: service, at: ["services", service] },
        { text: words.services.tabs.instances, at: ["services", service, "instances"] },
      ]}
      badge={
        row && (
          <>
            <StatusBadge status={row.status} />
            <SidecarBadge row={row} />
          </>
        )
      }
      actions={
        row && (
          <>
            {!resting && (
              <ActButton action={begin(target)}>{words.services.maintenance.begin}</ActButton>
            )}
            <DeregisterButton
              entry={row.entry}
              class="ghost"
              done={() => go(to("services", service, "instances"))}
            />
          </>
        )
      }
    >
      {resting && <MaintenancePanel one={resting} target={target} />}
      <Loaded live={live}>
        {() =>
          row ? (
            <Known row={row} />
          ) : (
            <Empty title={w.gone(id, node)}>
              <p>{w.goneText}</p>
              <p>
                <a href={to("services", service, "instances")}>{w.back}</a>
              </p>
            </Empty>
          )
        }
      </Loaded>
    </Page>
  );
}

function Known({ row }: { row: InstanceRow }) {
  const { Service: service, Node: node } = row.entry;
  const checks = [...row.own, ...row.ofNode];
  const proxy = service.Kind === "connect-proxy" ? service.Proxy : row.sidecar?.Service.Proxy;
  const tags = service.Tags ?? [];
  const meta = Object.entries(service.Meta ?? {});
  return (
    <div class="services-stack">
      <Panel title={w.facts}>
        <Facts
          facts={[
            [
              w.address,
              <Data key="address" mono>
                {row.address}
              </Data>,
            ],
            [
              w.node,
              <a key="node" href={to("nodes", row.node)}>
                <bdi>{row.node}</bdi>
              </a>,
            ],
            [
              w.nodeAddress,
              <Data key="of node" mono>
                {node.Address}
              </Data>,
            ],
            [w.weights, w.weightsAre(service.Weights.Passing, service.Weights.Warning)],
            [w.index, service.ModifyIndex],
          ]}
        />
      </Panel>
      <Panel title={w.checks}>
        {checks.length ? (
          <Checks checks={checks} />
        ) : (
          <p class="quiet">{words.services.instance.noChecks}</p>
        )}
      </Panel>
      <Panel title={w.sidecar} aside={row.sidecar && <SidecarStatus sidecar={row.sidecar} />}>
        {proxy ? <Sidecar proxy={proxy} sidecar={row.sidecar} /> : <NoSidecar row={row} />}
      </Panel>
      <div class="grid">
        <Addresses entry={row.entry} />
        <Panel title={w.tags}>
          {tags.length ? <Tags tags={tags} max={200} /> : <p class="quiet">{words.parts.none}</p>}
        </Panel>
        <Panel title={w.meta}>
          {meta.length ? (
            <Facts facts={meta.map(([key, value]) => [key, <bdi key={key}>{value}</bdi>])} />
          ) : (
            <p class="quiet">{words.parts.none}</p>
          )}
        </Panel>
      </div>
    </div>
  );
}

function SidecarStatus({ sidecar }: { sidecar: Entry }) {
  const row = instancesOf([sidecar], [])[0];
  return row ? <StatusBadge status={row.status} /> : null;
}

function NoSidecar({ row }: { row: InstanceRow }) {
  if (row.native) return <p>{w.native}</p>;
  return (
    <Empty title={w.noSidecar} command={w.noSidecarCommand(quoted(row.id))}>
      {w.noSidecarText}
    </Empty>
  );
}

function Sidecar({ proxy, sidecar }: { proxy: Proxy; sidecar: Entry | undefined }) {
  const upstreams = proxy.Upstreams ?? [];
  const own = sidecar ? sidecar.Checks.filter((one) => one.ServiceID === sidecar.Service.ID) : [];
  const paths = proxy.Expose?.Paths ?? [];
  return (
    <div class="services-stack">
      {sidecar && (
        <p>
          <a
            href={to(
              "services",
              sidecar.Service.Service,
              "instances",
              sidecar.Node.Node,
              sidecar.Service.ID,
            )}
          >
            <bdi>{sidecar.Service.ID}</bdi>
          </a>{" "}
          {proxy.Mode && proxy.Mode !== "direct" && <Badge>{proxy.Mode}</Badge>}
        </p>
      )}
      {own.length > 0 && <Checks checks={own} of={words.services.check.ofSidecar} />}
      <div>
        <h3>{w.upstreams}</h3>
        {upstreams.length ? (
          <table class="services-table">
            <thead>
              <tr>
                <th scope="col">{w.upstreamColumns.service}</th>
                <th scope="col">{w.upstreamColumns.at}</th>
                <th scope="col">{w.upstreamColumns.dc}</th>
              </tr>
            </thead>
            <tbody>
              {upstreams.map((one) => (
                <tr key={JSON.stringify(one)}>
                  <td>
                    <a href={to("services", one.DestinationName)}>
                      <bdi>{one.DestinationName}</bdi>
                    </a>
                  </td>
                  <td>
                    <code>
                      <bdi>
                        {one.LocalBindSocketPath ||
                          `${one.LocalBindAddress || "127.0.0.1"}:${one.LocalBindPort ?? ""}`}
                      </bdi>
                    </code>
                  </td>
                  <td>
                    <bdi>{one.Datacenter ?? ""}</bdi>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <p class="quiet">{w.noUpstreams}</p>
        )}
      </div>
      {(paths.length > 0 || proxy.Expose?.Checks) && (
        <div>
          <h3>{w.exposed}</h3>
          <p class="quiet">{w.exposedText}</p>
          {proxy.Expose?.Checks && <p>{w.exposesChecks}</p>}
          {paths.length > 0 && (
            <table class="services-table">
              <thead>
                <tr>
                  <th scope="col">{w.exposedColumns.path}</th>
                  <th scope="col">{w.exposedColumns.listener}</th>
                  <th scope="col">{w.exposedColumns.local}</th>
                  <th scope="col">{w.exposedColumns.protocol}</th>
                </tr>
              </thead>
              <tbody>
                {paths.map((one) => (
                  <tr key={JSON.stringify(one)}>
                    <td>
                      <code>
                        <bdi>{one.Path}</bdi>
                      </code>
                    </td>
                    <td>{one.ListenerPort}</td>
                    <td>{one.LocalPathPort}</td>
                    <td>{one.Protocol ?? "http"}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </div>
      )}
    </div>
  );
}

function Addresses({ entry }: { entry: Entry }) {
  const tagged = Object.entries(entry.Service.TaggedAddresses ?? {});
  return (
    <Panel title={w.addresses}>
      {tagged.length ? (
        <Facts
          facts={tagged.map(([name, one]) => [
            name,
            <Data key={name} mono>
              {one.Address.includes(":")
                ? `[${one.Address}]:${one.Port}`
                : `${one.Address}:${one.Port}`}
            </Data>,
          ])}
        />
      ) : (
        <p class="quiet">{words.parts.none}</p>
      )}
    </Panel>
  );
}
