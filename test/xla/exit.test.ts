/** Processes that hold a plugin end by themselves: unloading a library under its threads would crash them. */
import { spawnSync } from 'node:child_process';
import { expect, inject, test } from 'vitest';
import { slowModule } from './modules.js';

function runScript(script: string): { status: number | null; signal: string | null; stdout: string; stderr: string } {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' },
    timeout: 60_000,
  });
  return { status, signal, stdout, stderr };
}

test.each(['', 'buffer.dispose(); client.dispose();', 'process.exit(0);'])(
  'a process with a live client ends cleanly after: %s',
  (last) => {
    const { status, signal, stderr } = runScript(`
      import { PjrtClient } from './dist/src/pjrt/client.js';
      import { loadPlugin } from './dist/src/pjrt/library.js';
      const client = await PjrtClient.create(loadPlugin(${JSON.stringify(inject('cpuPlugin'))}));
      const buffer = client.bufferFromHost(new Float32Array(100), [100]);
      await buffer.ready();
      ${last}`);
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  },
);

test('a process ends at once where it is asked to while its device gives no answer', () => {
  // For hours, on a thread of the plugin's; a thread of Node's waits for it, and `process.exit` would wait for that one.
  const { status, signal, stderr } = runScript(`
    import { PjrtClient } from './dist/src/pjrt/client.js';
    import { loadPlugin } from './dist/src/pjrt/library.js';
    import { endProcess } from './dist/server/end-process.js';
    const client = await PjrtClient.create(loadPlugin(${JSON.stringify(inject('cpuPlugin'))}));
    const executable = await client.compile(${JSON.stringify(slowModule(1000, 2_000_000_000))}, { portable: true });
    const input = client.bufferFromHost(new Float32Array(1000), [1000]);
    setTimeout(() => endProcess(7), 200);
    const { done } = await executable.execute([[input]], client.devices[0]);
    await done;`);
  expect({ status, signal, stderr }).toEqual({ status: 7, signal: null, stderr: '' });
});
