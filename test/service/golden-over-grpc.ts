import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { writeSafetensors } from '../../src/policies/safetensors.js';
import { startServer, type RunningServer, type StartOptions } from '../../server/start.js';
import { goldenCases, planTolerance, worstError, type ProjectCase } from '../golden/cases.js';
import { floatTensor, floatsOf, maskTensor, rawClient, type RawClient, type RawMessage } from './raw-client.js';

const cases = goldenCases();

/** Every golden case through a real server, started with `flags` beside the tests' own. */
export function describeGoldenCases(title: string, flags: () => readonly string[], options: StartOptions = {}): void {
  describe(title, () => {
    let server: RunningServer;
    let client: RawClient;
    let policyDir: string;

    beforeAll(async () => {
      policyDir = mkdtempSync(join(tmpdir(), 'tc-golden-'));
      cases.forEach((golden, index) => {
        if (golden.op === 'project') writePolicy(policyDir, `golden-${index}`, golden);
      });
      const { config } = loadConfig(
        [
          '--grpc-address',
          '127.0.0.1:0',
          '--admin-address',
          '127.0.0.1:0',
          '--policy-dir',
          policyDir,
          '--log-level',
          'silent',
          ...flags(),
        ],
        {},
      );
      server = await startServer(config, options);
      await server.ready;
      client = rawClient(server.grpcAddress);
    }, 60_000);

    afterAll(async () => {
      client.close();
      await server.close();
      rmSync(policyDir, { recursive: true });
    });

    for (const [index, golden] of cases.entries()) {
      it(`case ${index}: ${golden.op}${golden.note === undefined ? '' : ` (${golden.note})`} meets its tolerance`, async () => {
        if (golden.op === 'project') {
          const answer = await client.coordinate({
            policy: `golden-${index}`,
            agents: floatTensor(golden.states),
            operators: ['PROJECTION'],
            projection: golden.budget === undefined ? {} : { budget: golden.budget },
          });
          expect(worstError(floatsOf(answer['resources'])!.values, golden.resources.flat())).toBeLessThanOrEqual(1e-5);
        } else if (golden.op === 'consensus') {
          const { sigma, start, mask } = golden;
          const answer = await client.coordinate({
            responses: floatTensor(golden.responses),
            operators: ['CONSENSUS'],
            consensus: {
              ...(sigma === undefined ? {} : { sigma }),
              ...(start === undefined ? {} : { start: start.toUpperCase() }),
            },
            ...(mask === undefined ? {} : { agentMask: maskTensor(mask) }),
          });
          const consensus = answer['consensus'] as RawMessage;
          for (const name of ['centroid', 'weights', 'kernel'] as const) {
            expect(worstError(floatsOf(consensus[name])!.values, golden[name]), name).toBeLessThanOrEqual(1e-3);
          }
          expect(worstError(consensus['scale'] as number[], [golden.scale]), 'scale').toBeLessThanOrEqual(1e-3);
          expect(
            worstError(consensus['effectiveCount'] as number[], [golden.n_eff]),
            'effective count',
          ).toBeLessThanOrEqual(1e-3);
          const flagged = golden.flags.flatMap((flag, i) => (flag === 1 ? [i] : []));
          expect(consensus['outliers']).toEqual(flagged);
        } else {
          const capacities = golden.capacities ?? (golden.idle === undefined ? golden.col : undefined);
          const answer = await client.coordinate({
            utility: floatTensor(golden.utility),
            operators: ['ASSIGNMENT'],
            ...(golden.agent_mask === undefined ? {} : { agentMask: maskTensor(golden.agent_mask) }),
            ...(golden.task_mask === undefined ? {} : { taskMask: maskTensor(golden.task_mask) }),
            assignment: {
              forms: ['PLAN', 'HARD', 'TOP_K'],
              temperature: golden.tau,
              iterations: golden.iterations,
              ...(capacities === undefined ? {} : { capacities }),
              ...(golden.idle === undefined ? {} : { idleUtility: golden.idle }),
            },
          });
          const assignment = answer['assignment'] as RawMessage;
          const tolerance = planTolerance(golden);
          expect(worstError(floatsOf(assignment['plan'])!.values, golden.plan.flat())).toBeLessThanOrEqual(tolerance);
          if (golden.idle_mass !== undefined) {
            expect(worstError(floatsOf(assignment['idleMass'])!.values, golden.idle_mass)).toBeLessThanOrEqual(
              tolerance,
            );
          }
          if (golden.row_error_max !== undefined && golden.col_error_max !== undefined) {
            expect(Math.abs((assignment['rowError'] as number) - golden.row_error_max)).toBeLessThanOrEqual(
              Math.max(1e-5, tolerance * golden.plan.length),
            );
            expect(Math.abs((assignment['columnError'] as number) - golden.col_error_max)).toBeLessThanOrEqual(
              Math.max(1e-5, tolerance * golden.plan.length),
            );
          }
          expect(assignment['gap']).toBe(0);
        }
      });
    }
  });
}

function writePolicy(folder: string, name: string, golden: ProjectCase): void {
  const [d, k] = [golden.weight.length, golden.bias.length];
  const file = writeSafetensors(
    new Map([
      ['projection.weight', { shape: [d, k], data: Float32Array.from(golden.weight.flat()) }],
      ['projection.bias', { shape: [k], data: Float32Array.from(golden.bias) }],
      ['projection.resource_max', { shape: [k], data: Float32Array.from(golden.r_max) }],
    ]),
    new Map([['version', '1']]),
  );
  writeFileSync(join(folder, `${name}.safetensors`), file);
}
