/** Dashboards, rules, alerts and the runbook agree with each other and with the metrics that the server exposes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { collectProcessMetrics } from '../../server/process-metrics.js';
import { createMetrics } from '../../src/metrics.js';
import { packageRoot } from '../../src/package-root.js';
import { allRules, dashboards, ruleFiles, ruleTests, variableQuery } from '../observability/files.js';
import { readsOf, type Selector } from '../observability/promql.js';

/** Labels that Prometheus gives to what it scrapes, and those of its own series. */
const targetLabels = ['job', 'instance', 'namespace', 'pod'];
const ownSeries: Readonly<Record<string, readonly string[]>> = { up: [], ALERTS: ['alertname', 'alertstate'] };

interface Series {
  readonly labels: ReadonlySet<string>;
  /** Values that are known before anything happens. */
  readonly values: ReadonlyMap<string, ReadonlySet<string>>;
}

interface ScrapedMetric {
  readonly type: string;
  readonly labelNames?: readonly string[];
  get(): Promise<{ readonly values: readonly { readonly labels: Readonly<Record<string, string | number>> }[] }>;
}

const scraped = new Map<string, Series>();

beforeAll(async () => {
  const registry = new Registry();
  createMetrics(registry);
  collectProcessMetrics(registry);
  for (const metric of registry.getMetricsAsArray()) {
    // prom-client's own types tell less than there is.
    const kind = metric as unknown as ScrapedMetric;
    const { values } = await kind.get();
    const known = new Map<string, Set<string>>();
    for (const { labels } of values) {
      for (const [label, value] of Object.entries(labels))
        known.set(label, (known.get(label) ?? new Set()).add(String(value)));
    }
    const labels = new Set([...(kind.labelNames ?? []), ...known.keys()]);
    const suffixes = kind.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    for (const suffix of suffixes) {
      const own = new Set(suffix === '_bucket' ? [...labels, 'le'] : [...labels].filter((label) => label !== 'le'));
      scraped.set(metric.name + suffix, { labels: own, values: known });
    }
  }
});

const records = new Map(allRules().flatMap(({ record, expr }) => (record === undefined ? [] : [[record, expr]])));

/** Labels that a selector's series may have; undefined where nothing exposes it. */
function labelsOf({ metric }: Selector): readonly string[] | undefined {
  const record = records.get(metric);
  if (record !== undefined) return readsOf(record).groupedBy;
  const own = ownSeries[metric] ?? scraped.get(metric)?.labels;
  return own === undefined ? undefined : [...own, ...targetLabels];
}

function check(expression: string): void {
  const { selectors, groupedBy } = readsOf(expression);
  expect(selectors.length, expression).toBeGreaterThan(0);
  const all = new Set<string>();
  for (const selector of selectors) {
    const labels = labelsOf(selector);
    expect(labels, `${expression}: nothing exposes ${selector.metric}`).toBeDefined();
    for (const label of labels!) all.add(label);
    for (const { label, operator, value } of selector.matchers) {
      expect(labels, `${expression}: ${selector.metric} has no label ${label}`).toContain(label);
      const known = scraped.get(selector.metric)?.values.get(label);
      // A variable, or a negated match, may name what is not there.
      if (known === undefined || value.includes('$') || operator.startsWith('!')) continue;
      for (const each of operator === '=~' ? value.split('|') : [value])
        expect([...known], `${expression}: ${label} is never ${each}`).toContain(each);
      // Prometheus 2 keeps le="1" as it is scraped, Prometheus 3 writes it as 1.0.
      if (label === 'le') expect(Number.isInteger(Number(value)), `${expression}: a bound that is whole`).toBe(false);
    }
  }
  for (const label of groupedBy) expect([...all], `${expression}: nothing has the label ${label}`).toContain(label);
}

describe('the reader of expressions', () => {
  test('finds selectors and grouping labels, and passes over functions, operators and numbers', () => {
    const { selectors, groupedBy } = readsOf(
      'histogram_quantile(0.9, sum by (le, job) (rate(a_bucket{x=~"b|c",y!="}"}[5m] offset 1h))) > 1e-3 and on (job) up == 0',
    );
    expect(selectors.map(({ metric }) => metric)).toEqual(['a_bucket', 'up']);
    expect(selectors[0]!.matchers).toEqual([
      { label: 'x', operator: '=~', value: 'b|c' },
      { label: 'y', operator: '!=', value: '}' },
    ]);
    expect(selectors[0]!.text).toBe('a_bucket{x=~"b|c",y!="}"}');
    expect(groupedBy).toEqual(['le', 'job', 'job']);
  });

  test.each([
    ['a metric that is not exposed', 'coordinate_nothing_total > 0'],
    ['a label that the metric does not have', 'coordinate_queue_depth{stage="queue"}'],
    ['a value that the label never has', 'coordinate_shed_total{reason="queue_fulll"}'],
    ['a bound that is no bucket', 'coordinate_request_duration_seconds_bucket{le="0.11"}'],
    ['a bound that Prometheus 3 writes differently', 'coordinate_request_duration_seconds_bucket{le="1"}'],
    ['a grouping by what nothing has', 'sum by (tenant) (coordinate_queue_depth)'],
  ])('refuses %s', (_, expression) => {
    expect(() => check(expression)).toThrow();
  });
});

describe('rules', () => {
  test.each(allRules().map((rule) => [rule.alert ?? rule.record, rule.expr] as const))(
    '%s reads only series that there are',
    (_, expression) => check(expression),
  );

  test('each is there once, and Prometheus is told to read the files', () => {
    const names = allRules().map(({ alert, record }) => alert ?? record);
    expect(new Set(names).size).toBe(names.length);
    const config = parse(readFileSync(join(packageRoot, 'deploy/prometheus/prometheus.yml'), 'utf8')) as {
      rule_files: string[];
    };
    expect(config.rule_files).toEqual(['rules/*.yml']);
    const compose = readFileSync(join(packageRoot, 'docker-compose.yml'), 'utf8');
    expect(compose).toContain('./deploy/prometheus/rules:/etc/prometheus/rules:ro');
  });
});

/** To write the file again: `npx vitest run --project unit test/unit/observability.test.ts -u`. */
test('the rules for the Prometheus operator are those of the rule files', async () => {
  const rules = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'tensor-consensus', labels: { 'app.kubernetes.io/name': 'tensor-consensus' } },
    spec: { groups: ruleFiles().flatMap(({ content }) => content.groups) },
  };
  const note = '# Generated from deploy/prometheus/rules by test/unit/observability.test.ts; do not edit.\n';
  await expect(note + stringify(rules, { lineWidth: 0 })).toMatchFileSnapshot(
    '../../deploy/prometheus/kubernetes/rules.yaml',
  );
});

test('the pod monitor asks the port and the pods that the deployment names', () => {
  const read = (path: string): unknown => parse(readFileSync(join(packageRoot, path), 'utf8'));
  const monitor = read('deploy/prometheus/kubernetes/pod-monitor.yaml') as {
    metadata: { name: string };
    spec: { selector: unknown; podMetricsEndpoints: { port: string }[] };
  };
  const { spec } = read('deploy/kubernetes/base/deployment.yaml') as {
    spec: { selector: unknown; template: { spec: { containers: { ports: { name: string }[] }[] } } };
  };
  expect(monitor.spec.selector).toEqual(spec.selector);
  const ports = spec.template.spec.containers.flatMap((container) => container.ports.map(({ name }) => name));
  for (const { port } of monitor.spec.podMetricsEndpoints) expect(ports).toContain(port);
  expect(`namespace/${monitor.metadata.name}`).toMatch(/^.*tensor-consensus.*$/);
});

const alerts = allRules().filter(({ alert }) => alert !== undefined);

describe('alerts', () => {
  test.each(alerts.map((rule) => [rule.alert!, rule] as const))(
    '%s says how bad, what, and what to do',
    (name, rule) => {
      expect(['critical', 'warning']).toContain(rule.labels?.['severity']);
      expect(rule.annotations?.['summary']).toMatch(/^[A-Z].*\.$/);
      expect(rule.annotations?.['description']).toMatch(/\.$/);
      expect(rule.annotations?.['runbook_url']).toBe(`docs/runbook.md#${name.toLowerCase()}`);
      const { selectors, groupedBy } = readsOf(rule.expr);
      const labels = selectors.flatMap((selector) => labelsOf(selector) ?? []).concat(groupedBy);
      for (const [, label] of rule.annotations!['description']!.matchAll(/\$labels\.(\w+)/g)) {
        expect(labels, `the description names ${label}`).toContain(label);
      }
    },
  );

  const entries = readFileSync(join(packageRoot, 'docs/runbook.md'), 'utf8').split(/^#+ /m);

  test('each has an entry in the runbook, and each entry an alert', () => {
    const titles = entries.map((entry) => entry.split('\n', 1)[0]!).filter((title) => title.startsWith('Coordinate'));
    expect(titles.toSorted()).toEqual(alerts.map(({ alert }) => alert!).toSorted());
  });

  test.each(alerts.map(({ alert }) => alert!))('the entry of %s says meaning, impact, look, fix and verify', (name) => {
    const entry = entries.find((text) => text.startsWith(`${name}\n`)) ?? '';
    for (const part of ['Meaning', 'Impact', 'Look', 'fix', 'verify']) {
      expect(entry, part).toMatch(new RegExp(`\\*\\*[\\w, ]*${part}[\\w, ]*\\.\\*\\*`, 'i'));
    }
  });

  test('links in the runbook lead to entries that there are', () => {
    const text = readFileSync(join(packageRoot, 'docs/runbook.md'), 'utf8');
    const anchors = new Set(Array.from(text.matchAll(/^## (\w+)$/gm), ([, title]) => title!.toLowerCase()));
    for (const [, anchor] of text.matchAll(/\]\(#(\w+)\)/g)) expect([...anchors]).toContain(anchor);
  });

  test('each is tested by promtool to fire and to stay silent', () => {
    const cases = ruleTests().flatMap(({ content }) => content.tests.flatMap((one) => one.promql_expr_test));
    for (const { alert } of alerts) {
      const own = cases.filter(({ expr }) => expr === `ALERTS{alertname="${alert}",alertstate="firing"}`);
      expect(
        own.filter(({ exp_samples: samples }) => samples.length > 0).length,
        `${alert} fires in a test`,
      ).toBeGreaterThan(0);
      expect(
        own.filter(({ exp_samples: samples }) => samples.length === 0).length,
        `${alert} is silent in one`,
      ).toBeGreaterThan(0);
    }
    expect(ruleTests().flatMap(({ content }) => content.rule_files)).toEqual(
      ruleFiles().map(({ name }) => `../rules/${name}`),
    );
  });
});

describe.each(dashboards())('dashboard $name', ({ content: { panels, templating, annotations } }) => {
  const shown = panels.filter(({ type }) => type !== 'row');

  test('reads only series that there are', () => {
    for (const { targets = [] } of shown) for (const { expr } of targets) check(expr);
    for (const { expr } of annotations.list) check(expr);
    for (const { query } of templating.list) {
      if (typeof query === 'string') continue;
      const { selector, label } = variableQuery(query.query);
      check(selector);
      expect(targetLabels).toContain(label);
    }
  });

  test('takes its data from the variable, and every panel has queries, a unit and a description', () => {
    expect(templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' });
    for (const { title, targets = [], datasource, fieldConfig, description } of shown) {
      expect(targets.length, title).toBeGreaterThan(0);
      expect(fieldConfig?.defaults.unit, title).toMatch(/^\w+$/);
      expect(description, title).toMatch(/\.$/);
      for (const source of [datasource, ...targets.map((target) => target.datasource)])
        expect(source?.uid, title).toBe('${datasource}');
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
    }
  });

  test('has panels with names of their own that do not lie on each other', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x} ${y}`), title).toBe(false);
          taken.add(`${x} ${y}`);
        }
      }
    }
  });
});

describe('dashboards', () => {
  test('have names and ids of their own, and one of them is shown first', () => {
    const all = dashboards();
    expect(all.length).toBeGreaterThanOrEqual(3);
    for (const key of ['uid', 'title'] as const)
      expect(new Set(all.map(({ content }) => content[key])).size).toBe(all.length);
    const compose = readFileSync(join(packageRoot, 'docker-compose.yml'), 'utf8');
    const [, home] = /GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: \/etc\/dashboards\/(\S+)/.exec(compose) ?? [];
    expect(all.map(({ name }) => name)).toContain(home);
  });

  test('show every metric of the service', () => {
    const registry = new Registry();
    createMetrics(registry);
    const text = JSON.stringify(dashboards()) + JSON.stringify([...records]);
    for (const { name } of registry.getMetricsAsArray())
      expect(text.includes(name), `${name} is on no dashboard`).toBe(true);
  });
});
