/** The picture of a moment: map and numbers as lines of text. Pure: the same moment gives the same lines. */
import { chargers, mapSizeM, type Point } from './map.js';
import { panel } from './panel.js';
import type { Run } from './summary.js';
import { renderLine, type Span, type Style, span } from './style.js';
import type { Robot, Site, World } from './world.js';

export interface Moment extends Omit<Run, 'serverExit'> {
  readonly address: string;
}

export interface Look {
  readonly columns: number;
  readonly rows: number;
  readonly colour: boolean;
  readonly unicode: boolean;
}

/** Below this the map would show nothing: numbers only. */
const leastMapRows = 10;
const leastMapColumns = 30;
const panelColumns = 50;
/** A served site's mark stays this long. */
const servedMarkS = 12;

interface Cell {
  char: string;
  style: Style;
}

export interface Glyphs {
  readonly site: string;
  readonly siteWorked: string;
  readonly served: string;
  readonly travelling: string;
  readonly working: string;
  readonly idle: string;
  readonly charging: string;
  readonly flat: string;
  readonly faulty: string;
  readonly unseenFault: string;
  readonly charger: string;
  readonly beacon: string;
  readonly estimate: string;
  readonly both: string;
  readonly mean: string;
  readonly border: string;
}

const shared = { faulty: 'X', unseenFault: '?', flat: '_', estimate: '+', mean: 'm', charger: 'H' } as const;
const unicodeGlyphs: Glyphs = {
  ...shared,
  site: '◇',
  siteWorked: '◆',
  served: '✓',
  travelling: '•',
  working: '●',
  idle: '·',
  charging: '▪',
  beacon: '◉',
  both: '⊕',
  border: '╭╮╰╯─│',
};
const asciiGlyphs: Glyphs = {
  ...shared,
  site: 'o',
  siteWorked: '#',
  served: 'v',
  travelling: '*',
  working: '@',
  idle: '.',
  charging: '=',
  beacon: 'B',
  both: '&',
  border: '++++-|',
};

/** Exactly `rows` lines of `columns` characters, colours not counted. */
export function drawMoment(moment: Moment, look: Look): string[] {
  const glyphs = look.unicode ? unicodeGlyphs : asciiGlyphs;
  const beside = look.columns >= panelColumns + 2 * leastMapColumns;
  const numbers = panel(moment, glyphs, !beside);
  const mapRows = beside ? look.rows - 2 : look.rows - 2 - numbers.length;
  const room = (beside ? look.columns - panelColumns : look.columns) - 2;
  // A character is about twice as high as wide; in a small terminal a stretched map shows more.
  const mapColumns = Math.min(room, (beside ? 2 : 3) * mapRows);
  let lines: (readonly Span[])[];
  if (mapRows < leastMapRows || mapColumns < leastMapColumns) lines = numbers;
  else {
    const map = drawMap(moment, glyphs, mapColumns, mapRows);
    lines = beside ? map.map((line, i) => [...line, span('  '), ...(numbers[i] ?? [])]) : [...map, ...numbers];
  }
  return Array.from({ length: look.rows }, (_, row) => renderLine(lines[row] ?? [], look.columns, look.colour));
}

function drawMap(moment: Moment, glyphs: Glyphs, columns: number, rows: number): Span[][] {
  const { world, commander, tally } = moment;
  const cells: Cell[][] = Array.from({ length: rows }, () =>
    Array.from({ length: columns }, (): Cell => ({ char: ' ', style: 'plain' })),
  );
  const put = (place: Point, char: string, style: Style): void => {
    const [column, row] = cellAt(place, columns, rows);
    cells[row]![column] = { char, style };
  };
  // What matters more is drawn later.
  const shown = world.robots.filter((robot) => world.isPresent(robot));
  const convicted = (robot: Robot): boolean => commander.faults.isFaulty(robot.index);
  for (const charger of chargers) put(charger, glyphs.charger, 'blue');
  for (const robot of shown.filter((r) => r.state === 'idle')) put(robot, glyphs.idle, 'dim');
  for (const site of world.sites) drawSite(world, site, glyphs, put);
  for (const robot of shown.filter((r) => r.state !== 'idle')) put(robot, ...robotMark(robot, glyphs));
  for (const robot of shown.filter((r) => world.isBroken(r) || convicted(r))) {
    put(robot, convicted(robot) ? glyphs.faulty : glyphs.unseenFault, 'red');
  }
  if (tally.plainMean !== null) put(tally.plainMean, glyphs.mean, 'dim');
  const beacon = tally.beacon ?? world.beacon;
  put(beacon, glyphs.beacon, 'magenta');
  if (tally.estimate !== null) {
    const estimate = cellAt(tally.estimate, columns, rows);
    const same = cellAt(beacon, columns, rows).every((value, axis) => value === estimate[axis]);
    put(tally.estimate, same ? glyphs.both : glyphs.estimate, same ? 'magenta' : 'white');
  }
  return framed(cells, glyphs.border);
}

/** Column and row of a place; what lies outside is shown at the edge. North is up. */
function cellAt(place: Point, columns: number, rows: number): readonly [number, number] {
  const along = (share: number, count: number): number => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
  return [along(place.x / mapSizeM, columns), along(1 - place.y / mapSizeM, rows)];
}

function drawSite(world: World, site: Site, glyphs: Glyphs, put: (p: Point, c: string, s: Style) => void): void {
  if (site.servedAt !== null && world.now - site.servedAt <= servedMarkS) put(site, glyphs.served, 'green');
  if (!world.isOpen(site)) return;
  const worked = site.workDoneS > 0;
  put(site, worked ? glyphs.siteWorked : glyphs.site, worked || site.urgency > 2 ? 'yellow' : 'bold');
}

function robotMark(robot: Robot, glyphs: Glyphs): [string, Style] {
  switch (robot.state) {
    case 'working':
      return [glyphs.working, 'green'];
    case 'to-charger':
      return [glyphs.travelling, 'blue'];
    case 'charging':
      return [glyphs.charging, 'blue'];
    case 'flat':
      return [glyphs.flat, 'red'];
    case 'travelling':
      return [glyphs.travelling, 'cyan'];
    case 'idle':
    case 'absent':
    case 'gone':
      return [glyphs.idle, 'dim'];
  }
}

function framed(cells: readonly (readonly Cell[])[], border: string): Span[][] {
  const [topLeft = '', topRight = '', bottomLeft = '', bottomRight = '', across = '', down = ''] = border.split('');
  const edge = across.repeat(cells[0]?.length ?? 0);
  return [
    [span(topLeft + edge + topRight, 'dim')],
    ...cells.map((row) => [span(down, 'dim'), ...runs(row), span(down, 'dim')]),
    [span(bottomLeft + edge + bottomRight, 'dim')],
  ];
}

/** Neighbours of one style as one span. */
function runs(row: readonly Cell[]): Span[] {
  const spans: Span[] = [];
  let from = 0;
  for (let i = 1; i <= row.length; i += 1) {
    if (i < row.length && row[i]!.style === row[from]!.style) continue;
    const text = row.slice(from, i).map((cell) => cell.char);
    spans.push(span(text.join(''), row[from]!.style));
    from = i;
  }
  return spans;
}
