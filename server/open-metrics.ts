/** /metrics in the OpenMetrics format, which alone has exemplars. prom-client's own writer renames the counters that it writes, for good. */
import type { Registry } from 'prom-client';

export const openMetricsType = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

interface Sample {
  readonly value: number;
  readonly metricName?: string;
  readonly labels?: Readonly<Record<string, string | number>>;
  readonly exemplar?: {
    readonly labelSet: Readonly<Record<string, string | number>>;
    readonly value: number;
    readonly timestamp: number;
  } | null;
}

/** Whether a scraper with this `Accept` prefers it to plain text. */
export function prefersOpenMetrics(accept = ''): boolean {
  let openMetrics = 0;
  let plain = 0;
  for (const range of accept.slice(0, 2000).split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const valueOf = (name: string): string | undefined =>
      parameters.find((parameter) => parameter.startsWith(`${name}=`))?.slice(name.length + 1);
    const quality = Number(valueOf('q') ?? 1);
    if (type === 'text/plain') plain = Math.max(plain, quality);
    const isKnown = (valueOf('version') ?? '1.0.0') === '1.0.0';
    if (type === 'application/openmetrics-text' && isKnown) openMetrics = Math.max(openMetrics, quality);
  }
  return openMetrics > 0 && openMetrics >= plain;
}

/** The same series as in plain text. */
export async function renderOpenMetrics(registry: Registry): Promise<string> {
  const lines: string[] = [];
  for (const metric of await registry.getMetricsAsJSON()) {
    const { help, type } = metric;
    const isCounter = String(type) === 'counter';
    const family = isCounter ? metric.name.replace(/_total$/, '') : metric.name;
    lines.push(`# HELP ${family} ${escape(help)}`, `# TYPE ${family} ${type}`);
    for (const sample of metric.values as readonly Sample[]) {
      const name = isCounter ? `${family}_total` : (sample.metricName ?? family);
      lines.push(`${name}${labelText(sample.labels ?? {})} ${numberText(sample.value)}${exemplarText(sample)}`);
    }
  }
  lines.push('# EOF', '');
  return lines.join('\n');
}

function exemplarText({ exemplar }: Sample): string {
  if (exemplar === undefined || exemplar === null) return '';
  const { labelSet, value, timestamp } = exemplar;
  return ` # ${labelText(labelSet) || '{}'} ${numberText(value)} ${timestamp.toFixed(3)}`;
}

function labelText(labels: Readonly<Record<string, string | number>>): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escape(String(value))}"`);
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

function numberText(value: number): string {
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : String(value);
}

function escape(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}
