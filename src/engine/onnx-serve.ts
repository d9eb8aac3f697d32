/** The worker thread's message loop: one request at a time, in order, each answered by exactly one reply. */
import type { MessagePort } from 'node:worker_threads';
import { systemClock } from '../clock.js';
import { controlSlot, type WorkerReply, type WorkerRequest, type WorkerSettings } from './onnx-protocol.js';
import { OnnxSessions, type CompileModel } from './onnx-sessions.js';

/** Serves until `close`, after which the thread has nothing left to do and ends. Throws where the runtime cannot be used at all. */
export function serveRequests(port: MessagePort, settings: WorkerSettings, compile: CompileModel): void {
  const sessions = new OnnxSessions(compile, settings);
  const reply = (message: WorkerReply, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);

  const answer = async (request: WorkerRequest, receivedMs: number): Promise<void> => {
    if (Atomics.load(settings.control, controlSlot.closing) === 1) {
      port.close();
      return;
    }
    switch (request.kind) {
      case 'load': {
        const loaded = await sessions.load(request.program, request, request.kept, request.scratch);
        reply({ kind: 'loaded', id: request.id, ...loaded });
        break;
      }
      case 'run': {
        const startedMs = systemClock.nowMs();
        const outputs = await sessions.run(request.program, request.inputs);
        const sentMs = systemClock.nowMs();
        reply(
          { kind: 'ran', id: request.id, outputs, receivedMs, sentMs, executeMs: sentMs - startedMs },
          outputs.map((output) => output.buffer as ArrayBuffer),
        );
        break;
      }
      case 'unload':
        await sessions.unload(request.program);
        break;
      case 'close':
        port.close();
        break;
    }
  };

  // A session's run leaves the thread's stack before it computes, so the next message could overtake it.
  let tail = Promise.resolve();
  port.on('message', (request: WorkerRequest) => {
    const receivedMs = systemClock.nowMs();
    tail = tail
      .then(() => answer(request, receivedMs))
      .catch((thrown: unknown) => {
        // What fails here concerns nobody: nothing refers to that program any more.
        if (request.kind === 'unload' || request.kind === 'close') return;
        const message = thrown instanceof Error ? thrown.message : String(thrown);
        reply({
          kind: 'failed',
          id: request.id,
          code: request.kind === 'load' ? 'COMPILE_FAILED' : 'INTERNAL',
          message,
        });
      });
  });
  reply({ kind: 'ready', device: sessions.device });
}
