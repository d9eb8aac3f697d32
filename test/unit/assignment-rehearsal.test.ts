import { expect, it } from 'vitest';
import { rehearsal } from '../../src/assignment/rehearsal.js';

it('rehearses every solver, from nothing, from prices and stopped at several moments, on growing problems', () => {
  const answers = [...rehearsal(() => performance.now())].map((answer) => {
    if (answer === null) throw new Error('stopped without being asked to');
    return answer;
  });
  const by = (solver: string) => answers.filter((answer) => answer.solver === solver).length;
  expect(by('exact')).toBeGreaterThanOrEqual(40);
  expect(by('auction')).toBeGreaterThanOrEqual(20);
  expect(by('greedy')).toBeGreaterThanOrEqual(20);
  expect(answers.filter((answer) => answer.warmStartUsed).length).toBeGreaterThanOrEqual(20);
  const cutShort = answers.filter((answer) => answer.solver === 'auction' && answer.upperBound > answer.objective);
  expect(cutShort.length).toBeGreaterThanOrEqual(10);
  const sizes = answers.map((answer) => answer.taskOfAgent.length);
  expect(sizes).toEqual(sizes.toSorted((left, right) => left - right));
});
