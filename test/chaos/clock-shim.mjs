/** Preloaded: on SIGUSR2 the process's wall clock jumps to as many milliseconds from the true one as the file CHAOS_CLOCK says. */
import { readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const TrueDate = Date;
let offsetMs = 0;

class ShiftedDate extends TrueDate {
  constructor(...given) {
    if (given.length === 0) super(TrueDate.now() + offsetMs);
    else super(...given);
  }

  static now() {
    return TrueDate.now() + offsetMs;
  }
}

if (isMainThread) {
  globalThis.Date = ShiftedDate;
  process.on('SIGUSR2', () => {
    offsetMs = Number(readFileSync(process.env.CHAOS_CLOCK, 'utf8'));
    process.stdout.write(`${JSON.stringify({ msg: 'clock set', offsetMs })}\n`);
  });
}
