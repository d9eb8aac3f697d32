import { execFileSync } from 'node:child_process';

/** Worker threads run compiled JavaScript (see src/worker-url.ts), so a test run starts from a current build. */
export function setup(): void {
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
    stdio: 'inherit',
  });
}
