#!/usr/bin/env node
/**
 * Runs the steps of the Dockerfile by hand where there is no Docker daemon:
 *
 *   node deploy/check-container.mjs [--base FOLDER] [--starts COUNT]
 *
 * Each stage becomes a folder; COPY honours .dockerignore, RUN runs there on the host's Node, the last stage is started as the
 * image's user where this one may become it, and its HEALTHCHECK is asked until it passes. It knows exactly the instructions
 * that our Dockerfile uses and fails on any other. Every start finds empty caches.
 *
 * With --base, a root file system that holds /usr/local/bin/node (debootstrap makes one), root runs the server as a container
 * does: chroot into base and image, mounted read-only with a tmpfs at /tmp, network of its own, no capabilities and no new
 * privileges. Without it the server sees the host's files and takes the default ports.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: { base: { type: 'string' }, starts: { type: 'string', default: '1' } },
});
const project = resolve(import.meta.dirname, '..');
const root = mkdtempSync(join(tmpdir(), 'tensor-consensus-image-'));
const ignored = readFileSync(join(project, '.dockerignore'), 'utf8');

/** Our .dockerignore lists what is let through, files or whole folders; anything else would not reach the builder. */
function reachesBuilder(source) {
  const allowed = new Set(ignored.split('\n'));
  const parts = source.replace(/^\.\//, '').split('/');
  return parts.some((_, index) => allowed.has(`!${parts.slice(0, index + 1).join('/')}`));
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
/** Names of the image's labels. */
const labels = new Set();
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
    const destination = target.endsWith('/') ? join(inStage(target), basename(source)) : inStage(target);
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
  ARG() {},
  LABEL(rest) {
    for (const [, name] of rest.matchAll(/(\S+?)="[^"]*"/g)) labels.add(name);
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

/** Megabytes as Docker counts them. */
function sizeMb(folder) {
  return Math.round(Number(execFileSync('du', ['-sb', folder], { encoding: 'utf8' }).split('\t')[0]) / 1e6);
}

const isRoot = process.getuid() === 0;

function imageUser() {
  const [uid, gid = uid] = stage.user.split(':').map(Number);
  return { uid, gid };
}

function spawnPlain([command, ...parameters]) {
  const executable = command === 'node' ? process.execPath : command;
  return spawn(executable, parameters, {
    cwd: inStage('.'),
    env: { PATH: process.env.PATH, HOME: '/nonexistent', TC_ALLOW_PLAINTEXT: 'true', ...stage.environment },
    stdio: ['ignore', 'pipe', 'inherit'],
    ...(isRoot ? imageUser() : {}),
  });
}

const baseEnvironment = { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: '/home/node', TC_ALLOW_PLAINTEXT: 'true' };

/** Arguments of setpriv that leave a command what the manifests leave a container. */
function confined(command) {
  const { uid, gid } = imageUser();
  const rights = ['--bounding-set=-all', '--inh-caps=-all', '--no-new-privs', '--clear-groups'];
  return [...rights, `--reuid=${uid}`, `--regid=${gid}`, ...command];
}

/** The root stays mounted read-only for as long as the process lives, in a mount namespace of its own. */
function spawnContained(command) {
  const script = [
    'ip link set lo up 2>/dev/null || ifconfig lo up',
    'mount --bind "$1" "$1"',
    'mount -t proc proc "$1/proc"',
    'mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"',
    'mount -o remount,ro,bind "$1"',
    'root=$1; workdir=$2; shift 2',
    'exec chroot "$root" setpriv "$@"',
  ].join('\n');
  const inWorkdir = ['sh', '-c', `cd ${stage.workdir} && exec "$@"`, 'sh', ...command];
  const parameters = [
    '--mount',
    '--net',
    'sh',
    '-euc',
    script,
    'sh',
    stage.folder,
    stage.workdir,
    ...confined(inWorkdir),
  ];
  return spawn('unshare', parameters, {
    env: { ...baseEnvironment, ...stage.environment, PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Beside a server that `spawnContained` started. */
function spawnBeside(server, command) {
  const enter = ['--target', String(server.pid), '--net', '--mount', 'chroot', stage.folder, 'setpriv'];
  return spawn('nsenter', [...enter, ...confined(command)], {
    env: { ...baseEnvironment, ...stage.environment, PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

const exitOf = (child) => new Promise((done) => child.once('exit', (code, signal) => done(code ?? signal)));

/** Milliseconds from `startedMs` to the server's line that says it serves. */
function untilReady(server, startedMs) {
  return new Promise((done, fail) => {
    const lines = createInterface({ input: server.stdout });
    const timer = setTimeout(() => fail(new Error('not serving within 120 s')), 120_000);
    lines.on('line', (line) => {
      const isReady = /"msg":"ready"/.test(line);
      if (isReady || /"level":(40|50|60)/.test(line)) console.log(line);
      if (!isReady) return;
      clearTimeout(timer);
      done(performance.now() - startedMs);
    });
    server.once('exit', (code, signal) => {
      clearTimeout(timer);
      fail(new Error(`the server ended with ${code ?? signal}`));
    });
  });
}

/** Of a process with its threads; on a busy machine it says more than the clock. The name may hold spaces, so fields are counted after it. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** What must not be in an image for one CPU architecture that only serves. */
function assertLean() {
  for (const tool of ['typescript', 'vitest', 'eslint']) {
    if (existsSync(join(inStage('node_modules'), tool))) throw new Error(`${tool} is in the image`);
  }
  const runtime = inStage('node_modules/onnxruntime-node/bin');
  const libraries = readdirSync(runtime, { recursive: true }).filter((path) => /\.(so|node|dll|dylib)\b/.test(path));
  if (libraries.length === 0) throw new Error('ONNX Runtime has no library in the image');
  for (const path of libraries) {
    if (!path.includes(`/linux/${process.arch}/`)) throw new Error(`${path} is for another platform`);
    if (/cuda|tensorrt/.test(path)) throw new Error(`${path} is for CUDA`);
  }
}

async function start(index) {
  const startedMs = performance.now();
  const contained = options.base !== undefined;
  const command = [...stage.entrypoint, ...stage.command];
  const server = contained ? spawnContained(command) : spawnPlain(command);
  const ended = exitOf(server);
  try {
    const readyMs = await untilReady(server, startedMs);
    const load = readFileSync('/proc/loadavg', 'utf8').split(' ')[0];
    console.log(
      `-- start ${index}: serving after ${Math.round(readyMs)} ms as user ${stage.user} (${cpuSeconds(server.pid)} s of CPU time; the machine's load is ${load})`,
    );
    const health = contained ? spawnBeside(server, stage.health) : spawnPlain(stage.health);
    if ((await exitOf(health)) !== 0) throw new Error('the health check fails beside a server that serves');
  } finally {
    server.kill('SIGTERM');
    const code = await ended;
    console.log(`-- SIGTERM: exit ${code}`);
    if (code !== 0) process.exitCode = 1;
  }
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
  for (const name of ['title', 'licenses', 'version', 'revision']) {
    if (!labels.has(`org.opencontainers.image.${name}`)) throw new Error(`the image has no label ${name}`);
  }
  assertLean();
  console.log(`-- the image adds ${sizeMb(stage.folder)} MB to its base`);
  if (options.base !== undefined) {
    if (!isRoot) throw new Error('--base needs root');
    execFileSync('cp', ['-a', '--reflink=auto', `${resolve(options.base)}/.`, stage.folder]);
    console.log(`-- with this base it has ${sizeMb(stage.folder)} MB`);
  }
  for (let index = 1; index <= Number(options.starts); index++) await start(index);
  // A stopped server must not answer the health check.
  if (options.base === undefined && (await exitOf(spawnPlain(stage.health))) === 0) {
    throw new Error('the health check passes without a server');
  }
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
