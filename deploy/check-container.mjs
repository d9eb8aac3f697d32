#!/usr/bin/env node
/**
 * Runs the steps of the Dockerfile by hand where there is no Docker daemon: `node deploy/check-container.mjs`.
 * Each stage becomes a folder; COPY honours .dockerignore, RUN runs there, the last stage is started as an unprivileged
 * user where this one may become it, and its HEALTHCHECK is asked until it passes. It knows exactly the instructions that
 * our Dockerfile uses and fails on any other, on the host's Node instead of the image's. Takes the default ports.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const project = resolve(import.meta.dirname, '..');
const root = mkdtempSync(join(tmpdir(), 'tensor-consensus-image-'));
const nobody = 65534;
const ignored = readFileSync(join(project, '.dockerignore'), 'utf8');

/** Our .dockerignore lists what is let through; anything else would not reach the builder. */
function reachesBuilder(source) {
  return ignored.split('\n').includes(`!${source.replace(/^\.\//, '').split('/')[0]}`);
}

function instructions() {
  const text = readFileSync(join(project, 'Dockerfile'), 'utf8').replaceAll(/\\\n\s*/g, ' ');
  return text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name, rest] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
      if (name === undefined) throw new Error(`not an instruction: ${line}`);
      return { name, rest };
    });
}

const stages = new Map();
let stage;

function inStage(path) {
  return resolve(stage.folder, path.startsWith('/') ? `.${path}` : join(`.${stage.workdir}`, path));
}

function copy(rest) {
  const parts = rest.split(/\s+/);
  const from = parts[0].startsWith('--from=') ? stages.get(parts.shift().slice('--from='.length)) : null;
  const target = parts.pop();
  for (const source of parts) {
    if (from === null && !reachesBuilder(source)) throw new Error(`COPY ${source}: .dockerignore keeps it out`);
    const path = from === null ? join(project, source) : join(from.folder, source);
    const destination = target.endsWith('/') ? join(inStage(target), source) : inStage(target);
    mkdirSync(dirname(destination), { recursive: true });
    cpSync(path, destination, { recursive: true, verbatimSymlinks: true });
  }
}

const apply = {
  FROM(rest) {
    const [, alias] = / AS (\S+)$/.exec(rest) ?? [];
    stage = { folder: join(root, alias ?? 'image'), workdir: '/', environment: {}, user: 'root' };
    stages.set(alias ?? 'image', stage);
    mkdirSync(stage.folder);
  },
  WORKDIR(rest) {
    stage.workdir = rest;
    mkdirSync(inStage('.'), { recursive: true });
  },
  ENV(rest) {
    const at = rest.indexOf('=');
    stage.environment[rest.slice(0, at)] = rest.slice(at + 1);
  },
  COPY: copy,
  RUN(rest) {
    execFileSync('sh', ['-euc', rest], {
      cwd: inStage('.'),
      env: { ...process.env, ...stage.environment },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  },
  USER(rest) {
    stage.user = rest;
  },
  EXPOSE() {},
  HEALTHCHECK(rest) {
    stage.health = JSON.parse(rest.slice(rest.indexOf('CMD ') + 'CMD '.length));
  },
  ENTRYPOINT(rest) {
    stage.entrypoint = JSON.parse(rest);
  },
  CMD(rest) {
    stage.command = JSON.parse(rest);
  },
};

/** As another user than root where this process may switch; the image's environment and nothing of ours but PATH. */
function spawnInStage([command, ...parameters]) {
  const unprivileged = stage.user !== 'root' && process.getuid() === 0 ? { uid: nobody, gid: nobody } : {};
  const executable = command === 'node' ? process.execPath : command;
  return spawn(executable, parameters, {
    cwd: inStage('.'),
    env: { PATH: process.env.PATH, HOME: '/nonexistent', TC_ALLOW_PLAINTEXT: 'true', ...stage.environment },
    stdio: ['ignore', 'inherit', 'inherit'],
    ...unprivileged,
  });
}

const exitOf = (child) => new Promise((done) => child.once('exit', (code, signal) => done(code ?? signal)));

async function untilHealthy(server, ended) {
  const limit = Date.now() + 60_000;
  while (Date.now() < limit) {
    if (server.exitCode !== null) throw new Error(`the server ended with ${await ended}`);
    if ((await exitOf(spawnInStage(stage.health))) === 0) return;
    await new Promise((next) => setTimeout(next, 500));
  }
  throw new Error('not healthy within 60 s');
}

async function main() {
  // mkdtemp makes folders that only their owner can enter.
  execFileSync('chmod', ['755', root]);
  for (const { name, rest } of instructions()) {
    console.log(`-- ${name} ${rest}`);
    if (apply[name] === undefined) throw new Error(`this check does not know ${name}`);
    apply[name](rest);
  }
  if (stage.user === 'root') throw new Error('the image runs as root');
  for (const tool of ['typescript', 'vitest', 'eslint']) {
    if (existsSync(join(inStage('node_modules'), tool))) throw new Error(`${tool} is in the image`);
  }
  const size = execFileSync('du', ['-sm', stage.folder], { encoding: 'utf8' }).split('\t')[0];
  console.log(`-- the image adds ${size} MB to its base`);

  const started = Date.now();
  const server = spawnInStage([...stage.entrypoint, ...stage.command]);
  const ended = exitOf(server);
  try {
    await untilHealthy(server, ended);
    console.log(
      `-- healthy after ${Date.now() - started} ms as uid ${process.getuid() === 0 ? nobody : process.getuid()}`,
    );
  } finally {
    server.kill('SIGTERM');
    const code = await ended;
    console.log(`-- SIGTERM: exit ${code}`);
    if (code !== 0) process.exitCode = 1;
  }
  // A stopped server must not answer the health check.
  if ((await exitOf(spawnInStage(stage.health))) === 0) throw new Error('the health check passes without a server');
}

try {
  await main();
  console.log('container steps: ok');
} catch (error) {
  console.error(`container steps: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(root, { recursive: true, force: true });
}
