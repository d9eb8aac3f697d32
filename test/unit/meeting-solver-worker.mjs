/** A solver thread that answers a large problem only once another thread has one at the same time; small ones at once. */
import { BroadcastChannel, parentPort } from 'node:worker_threads';

// One channel for a pool: the address of this file carries its name.
const channel = new BroadcastChannel(new URL(import.meta.url).search);
let waiting = null;

function answer(slot) {
  const none = { taskOfAgent: new Int32Array(0), taskPrices: null, objective: 0, totalUtility: 0, upperBound: 0 };
  const result = { ...none, solver: 'greedy', changeLimited: false, warmStartUsed: false };
  parentPort.postMessage([{ slot, result, failure: null, tookMs: 1 }]);
}

function meet() {
  if (waiting === null) return;
  const slot = waiting;
  waiting = null;
  channel.postMessage('met');
  answer(slot);
}

channel.onmessage = ({ data }) => {
  if (data === 'here' && waiting !== null) meet();
  else if (data === 'met') meet();
};
parentPort.on('message', ({ items }) => {
  for (const item of items) {
    if (typeof item === 'number') answer(item);
    else {
      waiting = item.slot;
      channel.postMessage('here');
    }
  }
});
parentPort.postMessage('ready');
