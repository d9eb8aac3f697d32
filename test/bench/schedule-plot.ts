/** Goodput against load as an SVG of plain shapes and text: one panel for each kind of arrivals. */

export interface Curve {
  readonly title: string;
  readonly points: readonly CurvePoint[];
}

/** All but the load are goodput over capacity. */
export interface CurvePoint {
  readonly load: number;
  readonly ours: number;
  readonly fixedDelay: number;
  readonly fixedDelayDropping: number;
  readonly bound: number;
}

interface Line {
  readonly label: string;
  readonly of: (point: CurvePoint) => number;
  readonly colour: string;
  readonly dashes: string;
}

const lines: readonly Line[] = [
  { label: 'tensor-consensus', of: (point) => point.ours, colour: '#0b6e4f', dashes: '' },
  {
    label: 'fixed delay, late requests dropped',
    of: (point) => point.fixedDelayDropping,
    colour: '#c77700',
    dashes: '',
  },
  { label: 'fixed delay', of: (point) => point.fixedDelay, colour: '#b3261e', dashes: '' },
  { label: 'bound: nobody answers more', of: (point) => point.bound, colour: '#7a7f87', dashes: '5 4' },
];

const panelWidth = 300;
const panelHeight = 240;
const gap = 24;
const left = 52;
const top = 64;
const bottom = 46;
const mostLoad = 4;
const mostGoodput = 2;

export function renderPlot(curves: readonly Curve[]): string {
  const width = left + curves.length * (panelWidth + gap);
  const height = top + panelHeight + bottom;
  const legendStep = (width - left) / lines.length;
  const legend = lines.map(({ label, colour, dashes }, index) => {
    const x = left + index * legendStep;
    return `${stroke(`M${x} 18h26`, colour, dashes)}${text(x + 32, 22, label, 'start')}`;
  });
  const panels = curves.map((curve, index) => panel(curve, left + index * (panelWidth + gap), index === 0));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12">
<title>Goodput against load</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${[...legend, ...panels].join('\n')}
${text(16, top + panelHeight / 2, 'answers in time / capacity', 'middle', `transform="rotate(-90 16 ${top + panelHeight / 2})"`)}
</svg>
`;
}

function panel({ title, points }: Curve, x0: number, hasScale: boolean): string {
  const x = (load: number): number => x0 + (panelWidth * load) / mostLoad;
  const y = (goodput: number): number => top + panelHeight * (1 - Math.min(goodput, mostGoodput) / mostGoodput);
  const parts = [text(x0 + panelWidth / 2, top - 12, title, 'middle', 'font-weight="bold"')];
  for (let goodput = 0; goodput <= mostGoodput; goodput += 0.5) {
    parts.push(stroke(`M${x0} ${round(y(goodput))}h${panelWidth}`, goodput === 0 ? '#333333' : '#e3e5e8', '', 1));
    if (hasScale) parts.push(text(x0 - 8, y(goodput) + 4, goodput.toFixed(1), 'end'));
  }
  for (let load = 0; load <= mostLoad; load++) {
    parts.push(stroke(`M${round(x(load))} ${top + panelHeight}v4`, '#333333', '', 1));
    parts.push(text(x(load), top + panelHeight + 18, String(load), 'middle'));
  }
  parts.push(text(x0 + panelWidth / 2, top + panelHeight + 38, 'load / capacity', 'middle'));
  for (const { of, colour, dashes } of [...lines].reverse()) {
    // A line ends where it leaves the panel.
    const shown = points.slice(0, points.findLastIndex((point) => of(point) <= mostGoodput) + 1);
    const path = shown.map((point) => `${round(x(point.load))} ${round(y(of(point)))}`).join('L');
    parts.push(stroke(`M${path}`, colour, dashes));
    if (dashes !== '') continue;
    for (const point of shown) {
      parts.push(`<circle cx="${round(x(point.load))}" cy="${round(y(of(point)))}" r="2.6" fill="${colour}"/>`);
    }
  }
  return parts.join('\n');
}

function stroke(path: string, colour: string, dashes: string, width = 2): string {
  const dashed = dashes === '' ? '' : ` stroke-dasharray="${dashes}"`;
  return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="${width}"${dashed}/>`;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end', more = ''): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" fill="#22262b" ${more}>${content}</text>`;
}

function round(value: number): string {
  return value.toFixed(1);
}
