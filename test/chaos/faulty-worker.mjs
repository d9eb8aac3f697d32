/**
 * The ONNX engine's own worker, but that it takes an order from a file before it runs a program: `hang` never answers and never yields,
 * `memory` fills the heap until the thread is ended for it, `exit` ends the thread. An order is carried out once.
 */
import { readFileSync, rmSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

parentPort.on('message', ({ kind }) => {
  if (kind !== 'run') return;
  let order = '';
  try {
    order = readFileSync(process.env.CHAOS_ORDER, 'utf8');
    rmSync(process.env.CHAOS_ORDER);
  } catch {
    return; // Nothing is ordered.
  }
  const hoard = [];
  if (order === 'hang') for (;;);
  if (order === 'memory') for (;;) hoard.push(Array.from({ length: 1000 }, () => ({ hoarded: hoard.length })));
  if (order === 'exit') process.exit(7);
});

await import('../../dist/src/engine/onnx-worker.js');
