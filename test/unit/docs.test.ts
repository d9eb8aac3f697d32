/** Generated pages under docs/ are current. To write them again: `npx vitest run --project unit test/unit/docs.test.ts -u`. */
import { Registry, type Metric } from 'prom-client';
import { expect, test } from 'vitest';
import { renderConfigMarkdown } from '../../src/config.js';
import { errorRegistry } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import { renderApiPage } from './api-page.js';

function renderErrors(): string {
  const rows = Object.entries(errorRegistry).map(
    ([code, { status, retryable, when }]) => `| \`${code}\` | \`${status}\` | ${retryable ? 'yes' : 'no'} | ${when} |`,
  );
  return [
    '# Errors',
    '',
    '<!-- Generated from src/errors.ts by test/unit/docs.test.ts; do not edit. -->',
    '',
    'Every failed call ends with a gRPC status whose details hold `google.rpc.ErrorInfo` (domain `tensor-consensus`, `reason` = the code',
    'below), `google.rpc.BadRequest` with the field and what was expected where the input is at fault, and `google.rpc.RetryInfo` where',
    'the server knows when a retry helps. Match the code, never the message. "Retry" says whether the same request may succeed later or elsewhere.',
    '',
    'Calls that gRPC itself refuses have no details: UNIMPLEMENTED for a method that does not exist, RESOURCE_EXHAUSTED for a request beyond',
    '`--max-message-mb`, compressed or not.',
    '',
    '| Code | Status | Retry | When |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

/** As the registry's own metrics have it, ours included. */
type Registered = Metric & {
  readonly name: string;
  readonly help?: string;
  readonly type: string;
  readonly labelNames: readonly string[];
};

async function renderOperations(): Promise<string> {
  const registry = new Registry();
  createMetrics(registry);
  const helps = new Map((await registry.getMetricsAsJSON()).map(({ name, help }) => [name, help]));
  const rows = (registry.getMetricsAsArray() as unknown as Registered[]).map(({ name, type, labelNames }) => {
    const labels = labelNames.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${labels} | ${helps.get(name)} |`;
  });
  return [
    '# Operations',
    '',
    '<!-- Generated from src/config.ts and src/metrics.ts by test/unit/docs.test.ts; do not edit. -->',
    '',
    'Every setting and every metric of the server. How to deploy it: [deploy.md](deploy.md). What to do when an alert fires:',
    '[runbook.md](runbook.md). Certificates, tokens and quotas: [security.md](security.md). Traces and logs: [observability.md](observability.md).',
    'New versions: [upgrades.md](upgrades.md).',
    '',
    '## Settings',
    '',
    renderConfigMarkdown(),
    '',
    '## Metrics',
    '',
    'At `/metrics` of the admin address, in the text format of Prometheus, or OpenMetrics where the scraper asks for it. Labels are bounded: nothing that',
    'a client sends becomes one unless it is in the configuration. Beside these there are the usual `process_*` and `nodejs_*` of Node services.',
    '',
    '| Metric | Type | Labels | Meaning |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

test('docs/operations.md lists every setting and every metric as it is now', async () => {
  await expect(await renderOperations()).toMatchFileSnapshot('../../docs/operations.md');
});

test('docs/api.md shows the services and messages of the proto as they are now', async () => {
  await expect(renderApiPage()).toMatchFileSnapshot('../../docs/api.md');
});

test('docs/errors.md lists every error of the registry as it is now', async () => {
  await expect(renderErrors()).toMatchFileSnapshot('../../docs/errors.md');
});

test('every error says when it is raised in one sentence that fits a table cell', () => {
  for (const [code, { when }] of Object.entries(errorRegistry)) {
    expect(when, code).toMatch(/^[A-Z`][^|\n]*\.$/);
  }
});
