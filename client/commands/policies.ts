/** `tensor-consensus policies`: what a server has loaded. */
import { parseArgs } from 'node:util';
import { exitCodes } from '../exit-codes.js';
import type { PolicyInfo } from '../request.js';
import { tableLines } from '../table.js';
import { UsageError } from '../usage.js';
import { connectionFlags, connectionHelp, outputForm, withClient } from './connection.js';

export const policiesHelp = `tensor-consensus policies [options]

Lists the policies of a server: named, versioned sets of weights and defaults.

${connectionHelp}
`;

/** @throws UsageError, CoordinatorCallError */
export async function runPolicies(argv: readonly string[]): Promise<number> {
  const { values } = UsageError.from('policies', () => parseArgs({ args: [...argv], options: connectionFlags }));
  if (values.help) {
    process.stdout.write(policiesHelp);
    return exitCodes.ok;
  }
  const output = outputForm(values.output);
  return withClient(values, async (client) => {
    const policies = await client.listPolicies();
    const text = output === 'json' ? JSON.stringify(policies, null, 2) : policyTable(policies);
    process.stdout.write(`${text}\n`);
    return exitCodes.ok;
  });
}

/** 0 means any width, and no projection. */
function policyTable(policies: readonly PolicyInfo[]): string {
  const rows = policies.map((policy) => [
    policy.isDefault ? `${policy.name} (default)` : policy.name,
    policy.version,
    policy.utility === '' ? 'given' : policy.utility,
    policy.agentWidth === 0 ? 'any' : String(policy.agentWidth),
    policy.taskWidth === 0 ? 'any' : String(policy.taskWidth),
    policy.resourceKinds === 0 ? 'none' : String(policy.resourceKinds),
    String(Number(policy.temperature.toPrecision(4))),
    String(policy.iterations),
    policy.sigma === null ? 'adaptive' : String(Number(policy.sigma.toPrecision(4))),
    policy.forms.join(' '),
    String(policy.buckets.length),
    `${policy.engine} on ${policy.device}`,
  ]);
  const heading = [
    'policy',
    'version',
    'utility',
    'd',
    'e',
    'resources',
    'temperature',
    'iterations',
    'sigma',
    'forms',
    'warm buckets',
    'engine',
  ];
  return tableLines(heading, rows).join('\n');
}
