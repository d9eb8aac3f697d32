/** Generated pages under docs/ are current. To write them again: `npx vitest run --project unit test/unit/docs.test.ts -u`. */
import { expect, test } from 'vitest';
import { errorRegistry } from '../../src/errors.js';

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
    '| Code | Status | Retry | When |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

test('docs/errors.md lists every error of the registry as it is now', async () => {
  await expect(renderErrors()).toMatchFileSnapshot('../../docs/errors.md');
});

test('every error says when it is raised in one sentence that fits a table cell', () => {
  for (const [code, { when }] of Object.entries(errorRegistry)) {
    expect(when, code).toMatch(/^[A-Z`][^|\n]*\.$/);
  }
});
