import { describe, expect, it } from 'vitest';
import { answerJson, answerTable } from '../../client/answer-text.js';
import { matrix } from '../../client/client.js';
import { RetryBudget } from '../../client/retry-budget.js';
import { tableLines } from '../../client/table.js';
import { wholeNumber } from '../../client/usage.js';
import { answerExactly } from './demo-fake-coordinator.js';

const request = {
  utility: matrix(3, 2, [5, 1, 1, 5, 0, 0]),
  responses: matrix(3, 2, [1, 1, 1.1, 1, 1, 1.1]),
  agentIds: ['ada', 'bob', 'cyd'],
  taskIds: ['dig', 'fly'],
  assignment: { idleUtility: 0.5 },
};

describe('tables', () => {
  it('align numbers to the right and text to the left', () => {
    expect(
      tableLines(
        ['name', 'n'],
        [
          ['a', '5'],
          ['bcdef', '10 %'],
        ],
      ),
    ).toEqual(['name      n', 'a         5', 'bcdef  10 %']);
  });
});

describe('an answer as text', () => {
  it('is a table with names where ids were given', () => {
    const text = answerTable(request, answerExactly(request));
    expect(text).toMatch(/^ada +dig/m);
    expect(text).toMatch(/^bob +fly/m);
    expect(text).toMatch(/^cyd +idle/m);
    expect(text).toContain('gap 0 %');
  });

  it('cuts long tables and says so', () => {
    const many = { utility: matrix(60, 1, new Float32Array(60)), responses: matrix(60, 1, new Float32Array(60)) };
    expect(answerTable(many, answerExactly(many))).toContain('20 more agents');
  });

  it('is JSON with tensors as nested arrays of short numbers', () => {
    const answer = answerExactly(request);
    // A Buffer, as answers off the wire hold: JSON.stringify would write its own form of it.
    const warmStart = Buffer.from([1, 2, 3]);
    const assignment = { ...answer.assignment!, plan: matrix(2, 2, [0.1, 0.2, 1 / 3, 1]), warmStart };
    const parsed = JSON.parse(answerJson({ ...answer, assignment })) as { assignment: Record<string, unknown> };
    expect(parsed.assignment.plan).toEqual([
      [0.1, 0.2],
      [0.33333334, 1],
    ]);
    expect(parsed.assignment.taskOfAgent).toEqual([0, 1, -1]);
    expect(parsed.assignment.warmStart).toBe('AQID');
  });

  it('says so where no program was needed', () => {
    const answer = answerExactly(request);
    expect(answerTable(request, answer)).toContain('fake on none, b1, batch of 1; ms:');
    const execution = { ...answer.execution!, bucket: '' };
    expect(answerTable(request, { ...answer, execution })).toContain('no program needed; ms:');
  });
});

describe('matrix', () => {
  it('refuses a length that does not match', () => {
    expect(() => matrix(2, 2, [1, 2, 3])).toThrow('expected 2 x 2 = 4 values, received 3');
  });
});

describe('whole numbers on the command line', () => {
  it('are checked against their range', () => {
    expect(wholeNumber('--n', '12', 1, 12)).toBe(12);
    for (const text of ['0', '13', '1.5', '-1', '', 'x', '1e1']) {
      expect(() => wholeNumber('--n', text, 1, 12)).toThrow(
        `--n: expected a whole number from 1 to 12, received '${text}'`,
      );
    }
  });
});

describe('the retry budget', () => {
  it('stops retries after ten refusals in a row and lets them on again after enough successes', () => {
    const budget = new RetryBudget({ maxTokens: 20, tokenRatio: 0.1 });
    const allowed = Array.from({ length: 12 }, () => budget.failed());
    expect(allowed.filter(Boolean)).toHaveLength(9);
    for (let i = 0; i < 50; i += 1) budget.succeeded();
    expect(budget.failed()).toBe(true);
  });
});
