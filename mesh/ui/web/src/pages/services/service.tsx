/** A service: its topology, instances, intentions, tags and history. */

import { ExternalLink } from "../../parts/icons";
import { useMemo } from "preact/hooks";
import { api } from "../../live/api";
import { useLive } from "../../live/live";
import { useOnce } from "../../live/once";
import { place } from "../../live/place";
import { dashboard, instancesOf, tallied, worstOf, type Entry } from "../../logic/services";
import { ActButton } from "../../parts/act";
import { Badge, Loaded } from "../../parts/basics";
import { Page } from "../../parts/page";
import { words } from "../../words";
import { HistoryTab } from "./history";
import { Instances } from "./instances";
import { IntentionsTab } from "./intentions";
import { InstancesHealth } from "./list";
import { type Maintained, MaintenancePanel, about, begin } from "./maintenance";
import { TagsTab } from "./tags";
import { TopologyTab } from "./topology";

const w = words.services;
const NONE: Entry[] = [];
const TABS = ["topology", "instances", "intentions", "tags", "history"] as const;
type TabKey = (typeof TABS)[number];

/** What the operator decided about the UI. */
export interface UiSettings {
  DashboardURLTemplates: Record<string, string>;
  DefaultIntentionPolicy: string;
}

export function ServicePage({ name, tab }: { name: string; tab: string }) {
  const live = useLive<Entry[]>(api`/v1/health/service/${name}`);
  const maintained = useLive<Maintained[]>("/v1/maintenance").value ?? [];
  const settings = useOnce<UiSettings>("/v1/internal/ui/settings");
  const entries = live.value ?? NONE;
  const health = useMemo(() => tallied(instancesOf(entries, [])), [entries]);
  const shown: TabKey = TABS.find((one) => one === tab) ?? "topology";
  const target = { service: name };
  const resting = about(target, maintained);
  const link = dashboard(settings?.DashboardURLTemplates.service ?? "", name, place.value.dc);
  const kind = entries[0]?.Service.Kind;
  return (
    <Page
      title={name}
      crumbs={[{ text: words.shell.pages.services, at: ["services"] }]}
      badge={
        <>
          {live.loaded && (
            <InstancesHealth health={health} status={worstOf(health)} instances={entries.length} />
          )}
          {kind && <Badge>{kind}</Badge>}
        </>
      }
      actions={
        <>
          {link && (
            <a
              class="services-dashboard"
              href={link}
              target="_blank"
              rel="noreferrer"
              title={w.dashboardTitle}
            >
              {w.dashboard} <ExternalLink size="1em" aria-hidden="true" />
            </a>
          )}
          {!resting && <ActButton action={begin(target)}>{w.maintenance.begin}</ActButton>}
        </>
      }
      tabs={{
        at: ["services", name],
        present: shown,
        tabs: TABS.map((key) => ({
          key,
          text: w.tabs[key],
          count: key === "instances" && live.loaded ? entries.length : undefined,
        })),
      }}
    >
      {resting && <MaintenancePanel one={resting} target={target} />}
      {shown === "topology" && <TopologyTab service={name} />}
      {shown === "intentions" && (
        <IntentionsTab service={name} allow={settings?.DefaultIntentionPolicy !== "deny"} />
      )}
      {shown === "history" && <HistoryTab service={name} />}
      {(shown === "instances" || shown === "tags") && (
        <Loaded live={live}>
          {(value) =>
            shown === "tags" ? (
              <TagsTab service={name} entries={value} />
            ) : (
              <Instances service={name} entries={value} maintained={maintained} />
            )
          }
        </Loaded>
      )}
    </Page>
  );
}
