#!/usr/bin/env node
/** Prints envoy.yaml with the TLS contexts of tls.yaml: `node deploy/envoy/with-tls.mjs > FILE`. deploy/check-manifests.mjs checks what it prints. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, parseDocument } from 'yaml';

/** The configuration as text, comments kept. Throws where the listener or the cluster is not there. */
export function envoyWithTls() {
  const read = (name) => readFileSync(join(import.meta.dirname, name), 'utf8');
  const { downstream, upstream } = parse(read('tls.yaml'));
  const document = parseDocument(read('envoy.yaml'));
  const indexOf = (kind, name) => {
    const { items } = document.getIn(['static_resources', kind]);
    const index = items.findIndex((item) => item.get('name') === name);
    if (index < 0) throw new Error(`envoy.yaml: there is no ${name} in ${kind}`);
    return ['static_resources', kind, index];
  };
  const set = (path, value) => document.setIn([...path, 'transport_socket'], document.createNode(value));
  set([...indexOf('listeners', 'grpc'), 'filter_chains', 0], downstream);
  set(indexOf('clusters', 'coordinators'), upstream);
  return document.toString({ lineWidth: 0 });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(envoyWithTls());
