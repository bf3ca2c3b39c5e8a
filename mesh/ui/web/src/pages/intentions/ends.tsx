/** Which service: typed with help, `*` for every one. */

import { useMemo } from "preact/hooks";
import { useLive } from "../../live/live";
import { ANY, type Matrix } from "../../logic/matrix";
import { closeness } from "../../logic/search";
import { Input } from "../../parts/act";
import { MATRIX } from "./places";

const OFFERED = 50;

export function ServiceInput({
  name,
  label,
  value,
  set,
  hint,
  wildcard = true,
}: {
  name: string;
  label: string;
  value: string;
  set: (value: string) => void;
  hint?: string;
  wildcard?: boolean;
}) {
  const services = useLive<Matrix>(MATRIX).value?.Services;
  const offers = useMemo(() => {
    const found = (services ?? [])
      .map((one) => [closeness(value === ANY ? "" : value, one.Name), one.Name] as const)
      .filter(([score]) => score > 0)
      .sort(([a], [b]) => b - a)
      .slice(0, OFFERED)
      .map(([, one]) => one);
    return wildcard ? [ANY, ...found] : found;
  }, [services, value, wildcard]);
  return (
    <Input
      field={{ name, label, offers, required: true, ...(hint ? { hint } : {}) }}
      value={value}
      set={set}
    />
  );
}
