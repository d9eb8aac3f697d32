/** `serve` on an engine whose worker takes orders (faulty-worker.mjs), with CHAOS_SECOND_ENGINE set on a sound one below it. */
import { createCore } from '../../dist/server/core.js';
import { serve } from '../../dist/server/main.js';
import { OnnxEngine } from '../../dist/src/engine/onnx-engine.js';

const workerEntry = new URL('faulty-worker.mjs', import.meta.url);

const rungsOf = ({ clock, metrics, config, log }) => {
  const rung = (name, options) => ({
    name,
    async open() {
      const hangTimeoutMs = config.engineHangTimeoutMs;
      const engine = new OnnxEngine({
        clock,
        metrics,
        hangTimeoutMs,
        log: (text, fields) => log.warn(fields, text),
        ...options,
      });
      await engine.whenReady();
      return engine;
    },
  });
  const sound = process.env.CHAOS_SECOND_ENGINE === undefined ? [] : [rung('onnx sound', {})];
  return [rung('onnx faulty', { workerEntry }), ...sound];
};

process.exitCode = await serve(process.argv.slice(2), process.env, {
  createCore: (context) => createCore(context, rungsOf(context)),
});
