import { spawnSync } from 'node:child_process';

/**
 * Worker threads run compiled JavaScript (see src/worker-url.ts), so a test run starts from a current build.
 * The compiler emits despite type errors; those fail `npm run typecheck`, which runs before the tests.
 */
export function setup(): void {
  spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'ignore' });
}
