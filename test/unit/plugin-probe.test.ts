import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { probePlugin } from '../../client/plugins/probe.js';
import type { PluginName } from '../../src/pjrt/plugins.js';

const processFile = fileURLToPath(new URL('plugin-probe-process.mjs', import.meta.url));

function probe(behaviour: string, name: PluginName = 'cpu', hasTpu = false): ReturnType<typeof probePlugin> {
  // Only the plugin that hangs waits for the end of this time.
  return probePlugin(name, behaviour, { timeoutMs: behaviour === 'hangs' ? 3000 : 15_000, processFile, hasTpu });
}

it('tells version, platform and devices of a plugin that works', async () => {
  expect(await probe('works')).toEqual({ pjrt: '0.81', platform: 'cpu', devices: ['cpu', 'cpu'], why: null });
});

it('tells in one line why a plugin found no device', async () => {
  expect(await probe('refuses')).toMatchObject({ pjrt: '0.81', why: 'Client_Create: INTERNAL: no device' });
});

it('survives a plugin that crashes, ends the process or hangs', async () => {
  expect((await probe('crashes')).why).toBe('loading it ended the process (SIGSEGV)');
  expect((await probe('ends without a word')).why).toBe('loading it ended the process (exit code 7)');
  expect(await probe('hangs')).toEqual({
    pjrt: '0.81',
    platform: null,
    devices: [],
    why: 'no answer within 3 s',
  });
});

it('says that the process could not be started', async () => {
  const missing = await probePlugin('cpu', 'works', { timeoutMs: 15_000, processFile: '/nowhere/probe.mjs' });
  expect(missing.why).toMatch(/exit code 1/);
});

it('loads the TPU plugin without a chip so that it asks no metadata server, and with one as it is', async () => {
  expect((await probe('tells its environment', 'tpu', false)).why).toBe('version 1 1');
  expect((await probe('tells its environment', 'tpu', true)).why).toBe('devices undefined undefined');
  expect(await probe('works', 'tpu', false)).toMatchObject({
    pjrt: '0.81',
    devices: [],
    why: 'no TPU on this host; it can compile for one',
  });
});
