/** The manifests, units and container files under deploy/ agree with the server, with each other and with what we promise. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig, type Config } from '../../src/config.js';
import { shedReasons } from '../../src/metrics.js';
import { packageRoot } from '../../src/package-root.js';
import { knownPlugins, pluginNames } from '../../src/pjrt/plugins.js';
import { build, buildWith, documentsOf, type Tree } from './kustomize.js';

const deploy = join(packageRoot, 'deploy');
const kubernetes = join(deploy, 'kubernetes');
const read = (path: string): string => readFileSync(join(packageRoot, path), 'utf8');
const { version } = JSON.parse(read('package.json')) as { version: string };

interface EnvironmentVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: Tree;
}

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env?: readonly EnvironmentVariable[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly securityContext: object;
  readonly resources: { readonly requests: Tree; readonly limits: Tree };
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
  readonly lifecycle?: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
  readonly periodSeconds: number;
  readonly failureThreshold: number;
}

interface Workload {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly replicas?: number;
    readonly serviceName?: string;
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly template: {
      readonly metadata: { readonly labels?: Tree; readonly annotations: Readonly<Record<string, string>> };
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly automountServiceAccountToken: boolean;
        readonly securityContext: object;
        readonly nodeSelector?: Readonly<Record<string, string>>;
        readonly initContainers?: readonly Container[];
        readonly containers: readonly Container[];
        readonly volumes: readonly { readonly name: string }[];
      };
    };
  };
}

const overlays = readdirSync(join(kubernetes, 'overlays'));
const kustomizations = new Map<string, () => Tree[]>([
  ...overlays.map((name) => [name, () => build(join(kubernetes, 'overlays', name))] as const),
  ...['tls', 'access', 'persistent'].flatMap((component) =>
    overlays.map((name) => {
      const folders = [join(kubernetes, 'overlays', name), join(kubernetes, 'components', component)] as const;
      return [`${name} with ${component}`, () => buildWith(...folders)] as const;
    }),
  ),
  [
    'tpu-v5e-2x4 with all-chips',
    () => buildWith(join(kubernetes, 'overlays/tpu-v5e-2x4'), join(kubernetes, 'components/all-chips')),
  ],
  ['base with keda', () => buildWith(join(kubernetes, 'base'), join(kubernetes, 'components/keda'))],
  ['envoy', () => build(join(deploy, 'envoy'))],
]);
const servers = [...kustomizations.keys()].filter((name) => name !== 'envoy');

function objectsOf(name: string): Tree[] {
  return kustomizations.get(name)!();
}

function ofKind(objects: readonly Tree[], ...kinds: readonly string[]): Tree[] {
  return objects.filter(({ kind }) => kinds.includes(kind as string));
}

function workloadOf(objects: readonly Tree[]): Workload {
  const found = ofKind(objects, 'Deployment', 'StatefulSet');
  expect(found).toHaveLength(1);
  return found[0] as unknown as Workload;
}

function coordinatorOf(workload: Workload): Container {
  return workload.spec.template.spec.containers.find(({ name }) => name === 'coordinator')!;
}

function environmentOf({ env = [] }: Container): Record<string, string> {
  return Object.fromEntries(env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])));
}

/** As the server reads it in that container. Throws where a setting is unknown or its value not allowed. */
function configIn(environment: Readonly<Record<string, string>>, argv: readonly string[] = []): Config {
  const { config, warnings } = loadConfig(argv, environment);
  expect(warnings).toEqual([]);
  return config;
}

function configOf(container: Container): Config {
  expect(container.args[0]).toBe('serve');
  return configIn(environmentOf(container), container.args.slice(1));
}

/** A constant of the server's that no setting holds. */
function constantMs(file: string, name: string): number {
  const found = new RegExp(`const ${name} = ([\\d_]+);`).exec(read(file));
  return Number(found![1]!.replaceAll('_', ''));
}

/** From SIGTERM to the end of the process, at most. */
function shutdownMs({ drainDelayMs, drainTimeoutMs }: Config): number {
  return (
    drainDelayMs +
    drainTimeoutMs +
    constantMs('server/shutdown.ts', 'lastGraceMs') +
    constantMs('server/start.ts', 'longestCloseMs')
  );
}

describe.each(servers)('%s', (name) => {
  const objects = objectsOf(name);
  const workload = workloadOf(objects);
  const pod = workload.spec.template.spec;
  const coordinator = coordinatorOf(workload);
  const config = configOf(coordinator);

  test('is killed only after everything that a shutdown may take', () => {
    const preStopMs = coordinator.lifecycle!.preStop.sleep.seconds * 1000;
    expect(pod.terminationGracePeriodSeconds * 1000).toBeGreaterThan(preStopMs + shutdownMs(config));
  });

  test('takes calls for longer than a probe and Envoy need to see that it leaves', () => {
    const { periodSeconds, failureThreshold } = coordinator.readinessProbe!;
    expect(config.drainDelayMs).toBeGreaterThan(periodSeconds * failureThreshold * 1000);
    expect(config.drainDelayMs).toBeGreaterThan(envoyNoticesMs());
  });

  test('is asked for readiness and life where the server answers', () => {
    const ports = new Map(coordinator.ports!.map(({ name: port, containerPort }) => [port, containerPort]));
    expect(ports).toEqual(
      new Map([
        ['grpc', config.grpcAddress.port],
        ['admin', config.adminAddress.port],
      ]),
    );
    expect(coordinator.startupProbe!.httpGet).toEqual({ path: '/readyz', port: 'admin' });
    expect(coordinator.readinessProbe!.httpGet).toEqual({ path: '/readyz', port: 'admin' });
    expect(coordinator.livenessProbe!.httpGet).toEqual({ path: '/livez', port: 'admin' });
    const paths = read('server/http.ts');
    for (const path of ['/readyz', '/livez', '/metrics']) expect(paths).toContain(`'${path}'`);
    const { annotations } = workload.spec.template.metadata;
    expect(annotations['prometheus.io/port']).toBe(String(config.adminAddress.port));
    expect(annotations['prometheus.io/path']).toBe('/metrics');
    // Twelve seconds on two cores, minutes for a TPU.
    const startSeconds = coordinator.startupProbe!.periodSeconds * coordinator.startupProbe!.failureThreshold;
    expect(startSeconds).toBeGreaterThanOrEqual(name.startsWith('tpu') ? 1200 : 300);
  });

  test('says how gRPC is protected', () => {
    const isEncrypted = config.tlsCert !== null && config.tlsKey !== null;
    expect(config.allowPlaintext).toBe(!isEncrypted);
    for (const service of ofKind(objects, 'Service')) {
      const [port] = (service['spec'] as { ports: Tree[] }).ports;
      expect(port!['appProtocol']).toBe(isEncrypted ? undefined : 'kubernetes.io/h2c');
    }
    for (const path of [config.tlsCert, config.tlsKey])
      if (path !== null) expect(mountAt(coordinator, path)).toBeDefined();
  });

  test('installs plugins that exist, where the server looks for them', () => {
    const [installer] = pod.initContainers!;
    expect(installer!.args.slice(0, 2)).toEqual(['plugin', 'install']);
    for (const plugin of installer!.args.slice(2)) expect(pluginNames).toContain(plugin);
    expect(installer!.args).toContain('cpu');
    for (const container of pod.initContainers!) {
      expect(environmentOf(container)['TC_PLUGIN_DIR']).toBe(config.pluginDir);
      configIn({ ...environmentOf(container) });
    }
    expect(mountAt(installer!, config.pluginDir!)!.readOnly).toBeUndefined();
    expect(mountAt(coordinator, config.pluginDir!)!.readOnly).toBe(true);
    expect(mountAt(coordinator, config.executableCacheDir!)!.readOnly).toBeUndefined();
    expect(mountAt(coordinator, '/tmp')!.readOnly).toBeUndefined();
  });

  test('asks for as many accelerators as its process is to use', () => {
    const { requests, limits } = coordinator.resources;
    for (const resource of ['google.com/tpu', 'nvidia.com/gpu']) expect(requests[resource]).toBe(limits[resource]);
    const chips = Number(limits['google.com/tpu'] ?? 0);
    expect(chips > 0).toBe(name.startsWith('tpu'));
    if (chips === 0) return;
    const topology = pod.nodeSelector!['cloud.google.com/gke-tpu-topology']!;
    const onNode = topology.split('x').reduce((product, side) => product * Number(side), 1);
    const environment = environmentOf(coordinator);
    const index = coordinator.env!.find((variable) => variable.name === 'TPU_VISIBLE_CHIPS')?.valueFrom;
    if (chips === onNode) {
      expect(index).toBeUndefined();
      expect(environment['TPU_CHIPS_PER_PROCESS_BOUNDS']).toBeUndefined();
      return;
    }
    expect(chips).toBe(1);
    expect(workload.kind).toBe('StatefulSet');
    expect(workload.spec.replicas).toBe(onNode);
    expect(index).toEqual({ fieldRef: { fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']" } });
    expect(environment['TPU_CHIPS_PER_PROCESS_BOUNDS']).toBe('1,1,1');
    expect(environment['TPU_PROCESS_BOUNDS']).toBe('1,1,1');
  });

  test('is found by its services, budget, policy and autoscaler', () => {
    const labels = workload.spec.template.metadata.labels ?? {};
    const { matchLabels } = workload.spec.selector;
    for (const [key, value] of Object.entries(matchLabels)) expect(labelled(objects, labels)[key]).toBe(value);
    const names = new Set(coordinator.ports!.map((port) => port.name));
    for (const service of ofKind(objects, 'Service')) {
      const { selector, ports } = service['spec'] as { selector: Tree; ports: { port: number; targetPort: string }[] };
      expect(selector).toEqual(matchLabels);
      for (const { targetPort, port } of ports) {
        expect(names).toContain(targetPort);
        expect(port).toBe(targetPort === 'grpc' ? config.grpcAddress.port : config.adminAddress.port);
      }
    }
    for (const kind of ['PodDisruptionBudget', 'NetworkPolicy']) {
      const [object] = ofKind(objects, kind) as { spec: { selector?: Tree; podSelector?: Tree } }[] as unknown as [
        { spec: { selector?: Tree; podSelector?: Tree } },
      ];
      expect(object.spec.selector ?? object.spec.podSelector).toEqual({ matchLabels });
    }
    const [policy] = ofKind(objects, 'NetworkPolicy') as unknown as [
      { spec: { policyTypes: string[]; ingress: { ports: { port: string }[] }[] } },
    ];
    expect(policy.spec.policyTypes).toEqual(['Ingress', 'Egress']);
    expect(policy.spec.ingress.flatMap(({ ports }) => ports.map(({ port }) => port))).toEqual(['grpc', 'admin']);
    const scalers = ofKind(objects, 'HorizontalPodAutoscaler', 'ScaledObject');
    expect(scalers).toHaveLength(workload.kind === 'Deployment' ? 1 : 0);
    for (const scaler of scalers) {
      const { scaleTargetRef } = scaler['spec'] as { scaleTargetRef: Tree };
      expect(scaleTargetRef).toMatchObject({ kind: workload.kind, name: workload.metadata.name });
      // Applying again must not set the number back.
      expect(workload.spec.replicas).toBeUndefined();
    }
    const headless = ofKind(objects, 'Service').find((service) => (service['spec'] as Tree)['clusterIP'] === 'None')!;
    if (workload.kind === 'StatefulSet') {
      expect(workload.spec.serviceName).toBe((headless['metadata'] as Tree)['name']);
    }
  });
});

/** Labels of a pod template; the base's kustomization adds the project's to all. */
function labelled(objects: readonly Tree[], own: Tree): Tree {
  const { labels } = parse(readFileSync(join(kubernetes, 'base/kustomization.yaml'), 'utf8')) as {
    labels: { pairs: Tree; includeTemplates: boolean }[];
  };
  expect(objects.length).toBeGreaterThan(0);
  expect(labels[0]!.includeTemplates).toBe(true);
  return { ...labels[0]!.pairs, ...own };
}

function mountAt(container: Container, path: string): Container['volumeMounts'][number] | undefined {
  return container.volumeMounts.find(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`));
}

test('no component and no overlay is left out', () => {
  const components = readdirSync(join(kubernetes, 'components'));
  // The autoscaler's is part of overlays.
  const tested = [...kustomizations.keys(), 'with hpa'];
  for (const component of components) expect(tested.some((name) => name.endsWith(`with ${component}`))).toBe(true);
});

test.each([...kustomizations.keys()])('%s: pods that can do nothing but serve', (name) => {
  const { metadata, spec } = workloadOf(objectsOf(name));
  const pod = spec.template.spec;
  expect(metadata.namespace).toBe('tensor-consensus');
  expect(pod.automountServiceAccountToken).toBe(false);
  expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
  const volumes = pod.volumes.map((volume) => volume.name);
  for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(Object.keys(container.resources.requests)).toEqual(expect.arrayContaining(['cpu', 'memory']));
    expect(container.resources.limits['memory']).toBeDefined();
    // A limit would throttle the event loop.
    expect(container.resources.limits['cpu']).toBeUndefined();
    for (const mount of container.volumeMounts) expect(volumes).toContain(mount.name);
    expect(container.image).toMatch(/:(distroless-v)?\d+\.\d+\.\d+$/);
    if (container.image.startsWith('tensor-consensus')) expect(container.image.endsWith(`:${version}`)).toBe(true);
  }
});

test("the image's user is the one that pods run as, and its labels and bases agree", () => {
  const dockerfile = read('Dockerfile');
  const user = /^USER (\d+):(\d+)$/m.exec(dockerfile)!;
  const pod = workloadOf(objectsOf('cpu')).spec.template.spec;
  expect(pod.securityContext).toMatchObject({ runAsUser: Number(user[1]), runAsGroup: Number(user[2]) });
  expect(dockerfile).toContain(`ARG VERSION=${version}\n`);
  const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map((match) => match[1]!);
  expect(new Set(bases).size).toBe(1);
  expect(dockerfile).toContain(`org.opencontainers.image.base.name="docker.io/library/${bases[0]!}"`);
  const installer = read('deploy/installer.Dockerfile');
  expect(installer).toContain(`ARG SERVER=tensor-consensus:${version}\n`);
  expect(installer.trimEnd()).toMatch(/USER 1000:1000\nHEALTHCHECK NONE\nCMD \["plugin", "install", "cpu"\]$/);
});

test('every setting that a container file names exists', () => {
  for (const file of ['Dockerfile', 'deploy/installer.Dockerfile']) {
    const variables = [...read(file).matchAll(/^ENV (TC_[A-Z_]+)=(\S+)$/gm)].map(([, name, value]) => [name!, value!]);
    // What the image leaves to whoever runs it: how calls are protected.
    configIn({ ...(Object.fromEntries(variables) as Record<string, string>), TC_ALLOW_PLAINTEXT: 'true' });
  }
  interface Service {
    readonly environment?: Readonly<Record<string, string>>;
    readonly stop_grace_period?: string;
    readonly image: string;
  }
  const compose = parse(read('docker-compose.yml')) as { services: { coordinator: Service } };
  const withXla = parse(read('deploy/compose.xla.yml')) as { services: { coordinator: Service } };
  const { environment, stop_grace_period: grace, image } = compose.services.coordinator;
  expect(image).toBe(`tensor-consensus:${version}`);
  const config = configIn({ ...environment, ...withXla.services.coordinator.environment });
  expect(Number(/^(\d+)s$/.exec(grace!)![1]) * 1000).toBeGreaterThan(shutdownMs(config));
});

describe('units', () => {
  const [single, perChip] = ['tensor-consensus.service', 'tensor-consensus@.service'].map((file) =>
    read(`deploy/systemd/${file}`).split('\n'),
  ) as [string[], string[]];
  const variablesOf = (lines: readonly string[], instance = ''): Record<string, string> =>
    Object.fromEntries(
      lines
        .filter((line) => line.startsWith('Environment='))
        .map(
          (line) => /^Environment=([^=]+)=(.*)$/.exec(line.replaceAll('%i', instance))!.slice(1) as [string, string],
        ),
    );

  test('name settings that exist, and leave time for a shutdown', () => {
    for (const lines of [single, perChip]) {
      const config = configIn(variablesOf(lines, '3'));
      const stopSeconds = Number(lines.find((line) => line.startsWith('TimeoutStopSec='))!.split('=')[1]);
      expect(stopSeconds * 1000).toBeGreaterThan(shutdownMs(config));
      // A cache of its own, beside the plugins, in what systemd lets it write to.
      expect(lines).toContain('CacheDirectory=tensor-consensus');
      for (const folder of [config.pluginDir, config.executableCacheDir]) {
        expect(folder).toMatch(/^\/var\/cache\/tensor-consensus\/\w+$/);
      }
    }
  });

  test('restart always, and confine both kinds alike', () => {
    const confinement =
      /^(Restart|NoNew|Capability|Ambient|Protect|Private|Restrict|Lock|Remove|UMask|SystemCall|Device|Kill|Limit)/;
    const confined = single.filter((line) => confinement.test(line));
    expect(confined.length).toBeGreaterThan(25);
    expect(confined).toContain('Restart=always');
    expect(perChip.filter((line) => confinement.test(line))).toEqual(confined);
  });

  test('give each instance an accelerator and ports of its own', () => {
    const taken = new Set<number>();
    for (const instance of ['0', '1', '2', '3', '4', '5', '6', '7']) {
      const variables = variablesOf(perChip, instance);
      expect(variables).toMatchObject({
        TPU_VISIBLE_CHIPS: instance,
        TPU_CHIPS_PER_PROCESS_BOUNDS: '1,1,1',
        TPU_PROCESS_BOUNDS: '1,1,1',
        CUDA_VISIBLE_DEVICES: instance,
      });
      const { grpcAddress, adminAddress } = configIn(variables);
      for (const { port } of [grpcAddress, adminAddress]) {
        expect(taken).not.toContain(port);
        taken.add(port);
      }
    }
    expect(perChip).toContain('WantedBy=tensor-consensus.target');
    expect(perChip).toContain('PartOf=tensor-consensus.target');
  });
});

interface EnvoyCluster {
  readonly name: string;
  readonly lb_policy?: string;
  readonly load_assignment: {
    endpoints: {
      lb_endpoints: { endpoint: { address: { socket_address: { address: string; port_value: number } } } }[];
    }[];
  };
  readonly health_checks?: readonly {
    readonly timeout: string;
    readonly interval: string;
    readonly interval_jitter: string;
    readonly unhealthy_threshold: number;
    readonly grpc_health_check: { readonly service_name: string };
  }[];
  readonly outlier_detection?: object;
  readonly circuit_breakers?: {
    readonly thresholds: readonly { readonly retry_budget?: object; readonly max_requests: number }[];
  };
}

function envoyCluster(): EnvoyCluster {
  const { static_resources: resources } = documentsOf(join(deploy, 'envoy/envoy.yaml'))[0] as unknown as {
    static_resources: { clusters: EnvoyCluster[] };
  };
  return resources.clusters.find(({ name }) => name === 'coordinators')!;
}

/** After which Envoy sends nothing more to a replica that says NOT_SERVING, at most. */
function envoyNoticesMs(): number {
  const [check] = envoyCluster().health_checks!;
  const seconds = (text: string): number => Number(/^([\d.]+)s$/.exec(text)![1]);
  const between = seconds(check!.interval) + seconds(check!.interval_jitter);
  return (check!.unhealthy_threshold * between + seconds(check!.timeout)) * 1000;
}

test('Envoy balances over the replicas, by the names and ports that they have', () => {
  const objects = objectsOf('cpu');
  const cluster = envoyCluster();
  const { address, port_value: port } =
    cluster.load_assignment.endpoints[0]!.lb_endpoints[0]!.endpoint.address.socket_address;
  const headless = ofKind(objects, 'Service').find((service) => (service['spec'] as Tree)['clusterIP'] === 'None')!;
  expect(address).toBe((headless['metadata'] as Tree)['name']);
  expect(port).toBe(configOf(coordinatorOf(workloadOf(objects))).grpcAddress.port);
  expect(cluster.lb_policy).toBe('LEAST_REQUEST');
  expect(read('proto/tensorconsensus/v1/coordinator.proto')).toMatch(
    /package tensorconsensus\.v1;[^]*service Coordinator /,
  );
  expect(cluster.health_checks![0]!.grpc_health_check.service_name).toBe('tensorconsensus.v1.Coordinator');
  expect(cluster.outlier_detection).toBeDefined();
  expect(cluster.circuit_breakers!.thresholds[0]!.retry_budget).toBeDefined();
  // A replica that dies over a call resets it.
  expect(read('deploy/envoy/envoy.yaml')).toMatch(/retry_on: .*\breset$/m);
  // Its pods are let in, and have its ports.
  const labels = workloadOf(objectsOf('envoy')).spec.template.metadata.labels!;
  expect(labels['tensor-consensus/client']).toBe('true');
  const envoy = read('deploy/envoy/envoy.yaml');
  for (const { containerPort } of workloadOf(objectsOf('envoy')).spec.template.spec.containers[0]!.ports!) {
    expect(envoy).toContain(`port_value: ${containerPort} `);
  }
  // A call's limit is the server's own.
  expect(envoy).toContain(`grpc_timeout_header_max: ${loadConfig([], {}).config.maxDeadlineMs / 1000}s`);
});

test("Envoy's configuration with TLS is the same one with both sides encrypted, for a name that the replicas' service has", async () => {
  const script: string = '../../deploy/envoy/with-tls.mjs';
  const { envoyWithTls } = (await import(script)) as { envoyWithTls: () => string };
  interface Socketed {
    readonly name: string;
    readonly filter_chains?: readonly { transport_socket?: unknown }[];
    transport_socket?: { readonly typed_config: { readonly sni: string } };
  }
  const withTls = parse(envoyWithTls()) as { static_resources: { listeners: Socketed[]; clusters: Socketed[] } };
  const { listeners, clusters } = withTls.static_resources;
  const [chain] = listeners.find(({ name }) => name === 'grpc')!.filter_chains!;
  const cluster = clusters.find(({ name }) => name === 'coordinators')!;
  expect(chain!.transport_socket).toMatchObject({
    typed_config: { '@type': expect.stringContaining('.DownstreamTlsContext') as string },
  });
  expect(cluster.transport_socket).toMatchObject({
    typed_config: { '@type': expect.stringContaining('.UpstreamTlsContext') as string },
  });
  const services = ofKind(objectsOf('cpu'), 'Service').map((service) => {
    const { name, namespace } = service['metadata'] as Record<string, string>;
    return `${name}.${namespace}.svc`;
  });
  expect(services).toContain(cluster.transport_socket!.typed_config.sni);
  // Else it is the plain one.
  delete chain!.transport_socket;
  delete cluster.transport_socket;
  expect(withTls).toEqual(documentsOf(join(deploy, 'envoy/envoy.yaml'))[0]);
});

test('autoscalers ask for metrics that there are, and both for the same', () => {
  const { rules } = documentsOf(join(kubernetes, 'prometheus-adapter/values.yaml'))[0] as unknown as {
    rules: { custom: { seriesQuery: string; name: { as: string }; metricsQuery: string }[] };
  };
  const [scaler] = ofKind(objectsOf('cpu'), 'HorizontalPodAutoscaler') as unknown as [
    { spec: { metrics: { pods: { metric: { name: string }; target: { averageValue: string } } }[] } },
  ];
  const targets = scaler.spec.metrics.map(({ pods }) => pods);
  expect(targets.map(({ metric }) => metric.name)).toEqual(rules.custom.map(({ name }) => name.as));
  const [keda] = ofKind(objectsOf('base with keda'), 'ScaledObject') as unknown as [
    { spec: { triggers: { metadata: { threshold: string; query: string } }[] } },
  ];
  const milli = (text: string): number => (text.endsWith('m') ? Number(text.slice(0, -1)) : Number(text) * 1000);
  const thresholds = keda.spec.triggers.map(({ metadata }) => milli(metadata.threshold));
  expect(thresholds).toEqual(targets.map(({ target }) => milli(target.averageValue)));
  const queries = [
    ...rules.custom.flatMap((rule) => [rule.metricsQuery, rule.seriesQuery]),
    ...keda.spec.triggers.map(({ metadata }) => metadata.query),
  ];
  const metrics = read('src/metrics.ts');
  for (const query of queries) {
    for (const [series] of query.matchAll(/coordinate_[a-z_]+/g)) {
      expect(metrics).toContain(`'${series.replace(/_(sum|count)$/, '')}'`);
    }
    for (const [, reasons] of query.matchAll(/reason=~"([^"]+)"/g)) {
      for (const reason of reasons!.split('|')) expect(shedReasons).toContain(reason);
    }
    if (query.includes('stage=')) expect(query).toContain('stage="queue"');
  }
});

test("the GPU overlay puts CUDA's libraries beside the plugin of this version", () => {
  const installer = workloadOf(objectsOf('gpu')).spec.template.spec.initContainers!.find(
    ({ name }) => name === 'install-cuda',
  )!;
  expect(installer.args.join('\n')).toContain(`/cuda13/${knownPlugins.cuda13.version}"`);
  for (const [wheel] of read('docs/plugins.md').matchAll(/'nvidia-[^']+'/g))
    expect(installer.args.join('\n')).toContain(wheel);
});
