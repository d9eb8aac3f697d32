/** `node test/bench/run-typescript.mjs FILE ...`: runs `main(...)` of a TypeScript file under test/bench, with the transformer that the tests use. */
import { createViteServer } from 'vitest/node';

const [file, ...parameters] = process.argv.slice(2);
const server = await createViteServer({
  configFile: false,
  server: { middlewareMode: true, ws: false, watch: null },
  appType: 'custom',
  logLevel: 'error',
});
try {
  const { main } = await server.ssrLoadModule(`/test/bench/${file}`);
  process.exitCode = await main(parameters);
} finally {
  await server.close();
}
