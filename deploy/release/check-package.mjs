/**
 * Packs the project twice and compares the bytes; installs the tarball into an empty project with an empty home, without install scripts; and runs
 * from there what a user would run first.
 *
 * `node deploy/release/check-package.mjs`; needs the npm registry. Takes a minute or two.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-package-'));

/** The tarball's path and SHA-256. */
function pack(name) {
  const destination = join(folder, name);
  mkdirSync(destination);
  const output = execFileSync('npm', ['pack', '--json', '--pack-destination', destination], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [{ filename, files }] = JSON.parse(output.slice(output.indexOf('[')));
  if (files.some(({ path }) => path.endsWith('.tsbuildinfo')))
    throw new Error("the compiler's notes for its next build are packed");
  const file = join(destination, filename);
  return { file, hash: createHash('sha256').update(readFileSync(file)).digest('hex') };
}

function run(command, parameters, options) {
  const { status, stdout, stderr } = spawnSync(command, parameters, { encoding: 'utf8', timeout: 300_000, ...options });
  if (status !== 0) throw new Error(`${command} ${parameters.join(' ')} ended with ${status}:\n${stdout}\n${stderr}`);
  return stdout;
}

try {
  const first = pack('first');
  const second = pack('second');
  if (first.hash !== second.hash) throw new Error(`two packs differ: ${first.hash} and ${second.hash}`);
  console.log(`packed twice, the same ${statSync(first.file).size} bytes: sha256 ${first.hash}`);

  const project = join(folder, 'project');
  const home = join(folder, 'home');
  mkdirSync(project);
  mkdirSync(home);
  writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }\n');
  const { npm_config_cache: _cache, ...rest } = process.env;
  const env = { ...rest, HOME: home };
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', first.file], { cwd: project, env });
  console.log('installed into an empty project without install scripts');
  const types = 'import { CoordinatorClient } from "tensor-consensus"; console.log(typeof CoordinatorClient)';
  if (run('node', ['-e', types], { cwd: project, env }).trim() !== 'function')
    throw new Error('the client is not exported');
  const demo = run('npx', ['--no-install', 'tensor-consensus', 'demo'], { cwd: project, env });
  console.log(`npx tensor-consensus demo:\n${demo.trim().split('\n').slice(-6).join('\n')}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
