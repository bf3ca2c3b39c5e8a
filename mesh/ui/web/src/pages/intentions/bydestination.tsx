/** The matrix on a narrow screen: for each service that is called, who may call it. */

import { ChevronRight, FlaskConical } from "../../parts/icons";
import { ANY, type Axes, type Decisions } from "../../logic/matrix";
import { words } from "../../words";
import { opening } from "./places";
import { explained, nameOf, Verdict } from "./signs";

const w = words.intentions;
const DESTINATIONS_MAX = 60;
const SOURCES_MAX = 60;

export function ByDestination({
  decisions,
  shown,
  from,
}: {
  decisions: Decisions;
  shown: Axes;
  from: string;
}) {
  const rest = shown.destinations.length - DESTINATIONS_MAX;
  return (
    <div class="int-cards">
      {shown.destinations.slice(0, DESTINATIONS_MAX).map((destination) => (
        <section key={destination} class="panel">
          <h2>
            <bdi>{w.matrix.callers(nameOf(destination, "destination"))}</bdi>
          </h2>
          <ul>
            {callers(decisions, shown, destination, from).map((source) => (
              <Caller
                key={source}
                decisions={decisions}
                source={source}
                destination={destination}
              />
            ))}
          </ul>
        </section>
      ))}
      {rest > 0 && <p class="quiet">{w.matrix.tooMany(rest)}</p>}
    </div>
  );
}

/** Those to whom something else applies than to all others, unless callers were searched. */
function callers(decisions: Decisions, shown: Axes, destination: string, from: string): string[] {
  if (from.trim()) return shown.sources.slice(0, SOURCES_MAX);
  const others = decisions.cell(ANY, destination);
  const own = shown.sources.filter((source) => {
    if (source === ANY) return false;
    const cell = decisions.cell(source, destination);
    return (
      cell.Source !== others.Source ||
      cell.Destination !== others.Destination ||
      decisions.calls(source, destination)
    );
  });
  return [...own.slice(0, SOURCES_MAX), ANY];
}

function Caller({
  decisions,
  source,
  destination,
}: {
  decisions: Decisions;
  source: string;
  destination: string;
}) {
  const cell = decisions.cell(source, destination);
  const action = cell.By === "exact" ? undefined : cell.Says === "allow" ? "deny" : "allow";
  return (
    <li>
      <a href={opening({ source, destination, action })}>
        <span class="int-who">
          {source === ANY ? <em>{nameOf(source, "source")}</em> : <bdi>{source}</bdi>}
        </span>
        <Verdict says={cell.Says} />
        {cell.Trial && (
          <FlaskConical size="1em" role="img" aria-label={w.matrix.wouldBe(w.says[cell.Trial])} />
        )}
        <span class="unseen">{explained(cell)}</span>
        <span class="quiet int-by" aria-hidden="true">
          {w.matrix.by[cell.By]}
        </span>
        <ChevronRight size="1em" aria-hidden="true" />
      </a>
    </li>
  );
}
