import type { Reporter, TestCase } from 'vitest/node';

/** Says at the end which tests passed only when tried again, and what failed at first: a race that CI survived is still one to mend. */
export class SecondTryReporter implements Reporter {
  readonly #told: string[] = [];

  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky !== true) return;
    const why = test.result().errors?.[0]?.message.split('\n')[0] ?? 'no error kept';
    this.#told.push(`${test.project.name}: ${test.module.relativeModuleId} > ${test.fullName}: ${why}`);
  }

  onTestRunEnd(): void {
    for (const line of this.#told) console.warn(`SECOND TRY ${line}`);
  }
}
