/** The ground everything stands on: a square map with chargers. Metres. */

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Side of the map. */
export const mapSizeM = 1000;

/** Where robots start, and where they charge. */
export const chargers: readonly Point[] = [
  { x: 250, y: 250 },
  { x: 750, y: 250 },
  { x: 250, y: 750 },
  { x: 750, y: 750 },
];

export function distanceM(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

export function nearestCharger(place: Point): Point {
  let best = chargers[0]!;
  for (const charger of chargers) if (distanceM(charger, place) < distanceM(best, place)) best = charger;
  return best;
}
