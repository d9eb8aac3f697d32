/**
 * Entry file of the process that loads one plugin to see whether it works: what a plugin does when it is loaded (wait for
 * minutes, abort) happens to this process only. Arguments: path, `devices` or `version`. Sends `ProbeMessage`s to its parent.
 */
import { PjrtClient } from '../../src/pjrt/client.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import type { ProbeMessage } from './probe.js';

const [path = '', what = ''] = process.argv.slice(2);

function send(message: ProbeMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) throw new Error('started without a parent to answer');
    process.send(message, () => resolve());
  });
}

async function probe(): Promise<void> {
  const api = loadPlugin(path);
  await send({ kind: 'version', pjrt: `${api.version.major}.${api.version.minor}` });
  if (what !== 'devices') return;
  // Only CUDA knows this option, and without it would take most of the GPU's memory.
  const client = await PjrtClient.create(api, path.includes('cuda') ? { preallocate: false } : {});
  const { platformName: platform, devices } = client;
  await send({ kind: 'devices', platform, devices: devices.map((device) => device.kind) });
  client.dispose();
}

try {
  await probe();
} catch (error) {
  await send({ kind: 'failed', why: error instanceof Error ? error.message : String(error) });
}
process.exit(0);
