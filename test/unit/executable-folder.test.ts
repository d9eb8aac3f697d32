import { Registry } from 'prom-client';
import { afterEach, expect, it, vi } from 'vitest';
import { hostIdentity, openExecutableCache } from '../../server/executable-folder.js';
import { createLog } from '../../server/log.js';
import { loadConfig } from '../../src/config.js';
import { createMetrics } from '../../src/metrics.js';

afterEach(() => vi.unstubAllEnvs());

it('tells hosts apart by what changes compiled code: the CPU, the flags of XLA and the threads it is told to make', () => {
  for (const name of ['XLA_FLAGS', 'PJRT_NPROC', 'NPROC']) vi.stubEnv(name, '');
  const plain = hostIdentity();
  expect(hostIdentity()).toBe(plain);
  expect(plain).toContain(process.arch);
  if (process.platform === 'linux') expect(plain).toMatch(/flags|Features/);
  vi.stubEnv('XLA_FLAGS', '--xla_cpu_enable_fast_math=true');
  expect(hostIdentity()).not.toBe(plain);
  for (const name of ['PJRT_NPROC', 'NPROC']) {
    vi.unstubAllEnvs();
    vi.stubEnv('XLA_FLAGS', '');
    vi.stubEnv(name, '3');
    expect(hostIdentity(), name).not.toBe(plain);
  }
});

it('keeps no executables where the cache is switched off', () => {
  const open = (...flags: string[]) => {
    const { config } = loadConfig(['--log-level', 'silent', ...flags], {});
    return openExecutableCache(config, createMetrics(new Registry()), createLog(config));
  };
  expect(open('--executable-cache-mb', '0')).toBeNull();
  expect(open()).not.toBeNull();
});
