/** Entry of the lowering thread: traces programs and writes their StableHLO, one after another. */
import { parentPort } from 'node:worker_threads';
import { lowerToStableHlo } from '../compiler/stablehlo.js';
import { CoordinatorError } from '../errors.js';
import { buildProgram } from '../operators/pipeline.js';
import { loweringDigest } from './lowering-digest.js';
import type { LoweringReply, LoweringRequest } from './lowering-thread.js';

const port = parentPort;
if (port === null) throw new Error('lowering-worker.js is the entry of a worker thread');

const lowering = loweringDigest();

port.on('message', ({ id, spec, bucket }: LoweringRequest) => {
  let reply: LoweringReply;
  try {
    reply = { id, text: lowerToStableHlo(buildProgram(spec, bucket)), lowering };
  } catch (thrown) {
    const { message, cause } = CoordinatorError.from(thrown);
    reply = { id, failure: cause instanceof Error ? cause.message : message };
  }
  port.postMessage(reply);
});
