/** Entry of the lowering thread: traces programs and writes their StableHLO, one after another. */
import { parentPort } from 'node:worker_threads';
import { CoordinatorError } from '../errors.js';
import { loweringDigest } from './lowering-digest.js';
import type { LoweringReply, LoweringRequest } from './lowering-thread.js';
import { xlaProgramText } from './xla-program.js';

const port = parentPort;
if (port === null) throw new Error('lowering-worker.js is the entry of a worker thread');

const lowering = loweringDigest();

port.on('message', ({ id, spec, bucket, platform, partitions }: LoweringRequest) => {
  let reply: LoweringReply;
  try {
    reply = { id, text: xlaProgramText(spec, bucket, platform, partitions), lowering };
  } catch (thrown) {
    const { message, cause } = CoordinatorError.from(thrown);
    reply = { id, failure: cause instanceof Error ? cause.message : message };
  }
  port.postMessage(reply);
});
