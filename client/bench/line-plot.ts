/** Lines in panels side by side, as an SVG of plain shapes and text. */

export interface Line {
  readonly label: string;
  readonly colour: string;
  /** As SVG's `stroke-dasharray`; '' for an unbroken line, which has a dot at every point. */
  readonly dashes: string;
}

export type PlotPoint = readonly [x: number, y: number];

export interface Panel {
  readonly title: string;
  readonly yLabel: string;
  /** The scale is 0 to `mostY`, a grid line at each `yStep`; a line ends where it leaves it. */
  readonly mostY: number;
  readonly yStep: number;
  /** Of each line of the plot, in its order; empty where it is not in this panel. Points that are not finite are left out. */
  readonly points: readonly (readonly PlotPoint[])[];
}

export interface LinePlot {
  readonly title: string;
  readonly xLabel: string;
  /** The scale is 0 to `mostX`, a mark at each whole number. */
  readonly mostX: number;
  readonly lines: readonly Line[];
  readonly panels: readonly Panel[];
}

const panelWidth = 300;
const panelHeight = 240;
const left = 60;
const top = 64;
const bottom = 46;
const right = 16;

export function renderLinePlot({ title, xLabel, mostX, lines, panels }: LinePlot): string {
  const width = panels.length * (left + panelWidth) + right;
  const height = top + panelHeight + bottom;
  const legendStep = (width - left) / lines.length;
  const legend = lines.map(({ label, colour, dashes }, index) => {
    const x = left + index * legendStep;
    return `${stroke(`M${round(x)} 18h26`, colour, dashes)}${text(x + 32, 22, label, 'start')}`;
  });
  const drawn = panels.map((panel, index) =>
    drawPanel(panel, lines, left + index * (left + panelWidth), xLabel, mostX),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12">
<title>${title}</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${[...legend, ...drawn].join('\n')}
</svg>
`;
}

function drawPanel(panel: Panel, lines: readonly Line[], x0: number, xLabel: string, mostX: number): string {
  const { title, yLabel, mostY, yStep, points } = panel;
  const x = (value: number): number => x0 + (panelWidth * value) / mostX;
  const y = (value: number): number => top + panelHeight * (1 - Math.min(value, mostY) / mostY);
  const parts = [text(x0 + panelWidth / 2, top - 12, title, 'middle', 'font-weight="bold"')];
  for (let step = 0; step * yStep <= mostY; step++) {
    const value = step * yStep;
    parts.push(stroke(`M${x0} ${round(y(value))}h${panelWidth}`, step === 0 ? '#333333' : '#e3e5e8', '', 1));
    parts.push(text(x0 - 8, y(value) + 4, Number.isInteger(yStep) ? String(value) : value.toFixed(1), 'end'));
  }
  for (let mark = 0; mark <= mostX; mark++) {
    parts.push(stroke(`M${round(x(mark))} ${top + panelHeight}v4`, '#333333', '', 1));
    parts.push(text(x(mark), top + panelHeight + 18, String(mark), 'middle'));
  }
  parts.push(text(x0 + panelWidth / 2, top + panelHeight + 38, xLabel, 'middle'));
  const [labelX, labelY] = [x0 - 44, top + panelHeight / 2];
  parts.push(text(labelX, labelY, yLabel, 'middle', `transform="rotate(-90 ${labelX} ${labelY})"`));
  // The first line is drawn last, on top of the others.
  for (let line = lines.length - 1; line >= 0; line--) {
    const { colour, dashes } = lines[line]!;
    const finite = points[line]!.filter((point) => point.every(Number.isFinite));
    const shown = finite.slice(0, finite.findLastIndex((point) => point[1] <= mostY) + 1);
    const [last, next] = [shown.at(-1), finite[shown.length]];
    if (last === undefined) continue;
    const path = next === undefined ? shown : [...shown, crossing(last, next, mostY)];
    parts.push(stroke(`M${path.map(([px, py]) => `${round(x(px))} ${round(y(py))}`).join('L')}`, colour, dashes));
    if (dashes !== '') continue;
    for (const [px, py] of shown) {
      parts.push(`<circle cx="${round(x(px))}" cy="${round(y(py))}" r="2.6" fill="${colour}"/>`);
    }
  }
  return parts.join('\n');
}

/** Where the line from a point below `level` to one above it passes it. */
function crossing([x0, y0]: PlotPoint, [x1, y1]: PlotPoint, level: number): PlotPoint {
  return [x0 + ((x1 - x0) * (level - y0)) / (y1 - y0), level];
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
