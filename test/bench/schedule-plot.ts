/** Goodput against load: one panel for each kind of arrivals. */
import { type Line, renderLinePlot } from '../../client/bench/line-plot.js';

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

const lines: readonly (Line & { readonly of: (point: CurvePoint) => number })[] = [
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

export function renderPlot(curves: readonly Curve[]): string {
  return renderLinePlot({
    title: 'Goodput against load',
    xLabel: 'load / capacity',
    mostX: 4,
    lines,
    panels: curves.map(({ title, points }) => ({
      title,
      yLabel: 'answers in time / capacity',
      mostY: 2,
      yStep: 0.5,
      points: lines.map(({ of }) => points.map((point) => [point.load, of(point)] as const)),
    })),
  });
}
