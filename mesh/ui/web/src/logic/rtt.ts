/** Round trips estimated from network coordinates, as mesh/gossip/vivaldi.py does it. */

/** A place in the space of round trips; all values are seconds. */
export interface Coordinate {
  Vec: number[];
  /** From 0 (sure) to 1.5 (nothing measured yet). */
  Error: number;
  Adjustment: number;
  Height: number;
}

export interface Place {
  Node: string;
  Coord: Coordinate;
}

/** The round trip between two places, in seconds. */
export function estimate(one: Coordinate, other: Coordinate): number {
  let squares = 0;
  for (let i = 0; i < Math.max(one.Vec.length, other.Vec.length); i += 1)
    squares += ((one.Vec[i] ?? 0) - (other.Vec[i] ?? 0)) ** 2;
  const plain = Math.sqrt(squares) + one.Height + other.Height;
  const adjusted = plain + one.Adjustment + other.Adjustment;
  return adjusted > 0 ? adjusted : plain;
}

export interface Distance {
  node: string;
  seconds: number;
  /** How sure both places are: the greater of their errors. */
  error: number;
}

/** From a node to all others, the nearest first; null when the node's place is not known. */
export function distances(places: readonly Place[], from: string): Distance[] | null {
  const name = from.toLowerCase();
  const here = places.find((place) => place.Node.toLowerCase() === name);
  if (!here) return null;
  return places
    .filter((place) => place !== here)
    .map((place) => ({
      node: place.Node,
      seconds: estimate(here.Coord, place.Coord),
      error: Math.max(here.Coord.Error, place.Coord.Error),
    }))
    .sort((a, b) => a.seconds - b.seconds || (a.node < b.node ? -1 : 1));
}

/** The least, the middle and the greatest of some that are in order; null without any. */
export function spread(
  sorted: readonly Distance[],
): { min: number; median: number; max: number } | null {
  const [first, last] = [sorted[0], sorted.at(-1)];
  if (!first || !last) return null;
  const half = sorted.length / 2;
  const low = sorted[Math.ceil(half) - 1] ?? first;
  const high = sorted[Math.floor(half)] ?? last;
  return { min: first.seconds, median: (low.seconds + high.seconds) / 2, max: last.seconds };
}

/** `0.42 ms`, `31 ms`: a round trip, never more exact than it is worth. */
export function milliseconds(seconds: number): string {
  const ms = seconds * 1000;
  return `${ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}
