/**
 * A process that does nothing but the transport's work: the same service with the same messages, each call answered at
 * once with one prepared answer. What is left of its rate in the real server is what the service's own work leaves.
 *
 * `node null-server.js ANSWER_FILE [CERTIFICATE KEY]`: the file holds a serialized CoordinateResponse; with a certificate and its key (PEM) it
 * speaks TLS. Prints `{"address":"127.0.0.1:PORT"}`.
 */
import { readFileSync } from 'node:fs';
import { Server, ServerCredentials, type ServiceDefinition, type UntypedHandleCall } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoLoaderOptions, protoPackage } from '../../src/wire/messages.js';
import { protoFile } from './messages.js';

const definition = loadSync(protoFile, protoLoaderOptions)[`${protoPackage}.Coordinator`] as ServiceDefinition;
const method = definition['Coordinate']!;
const [answerFile, certFile, keyFile] = process.argv.slice(2);
const answer: unknown = method.responseDeserialize(readFileSync(answerFile!));
const credentials =
  certFile === undefined || keyFile === undefined
    ? ServerCredentials.createInsecure()
    : ServerCredentials.createSsl(null, [{ cert_chain: readFileSync(certFile), private_key: readFileSync(keyFile) }]);

// The answer is serialized again for each call, as a real server must.
const coordinate: UntypedHandleCall = (_call: unknown, callback: (error: null, value: unknown) => void) =>
  callback(null, answer);
const server = new Server({ 'grpc.max_receive_message_length': 64 * 1024 * 1024 });
server.addService({ Coordinate: method }, { Coordinate: coordinate });
server.bindAsync('127.0.0.1:0', credentials, (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`${JSON.stringify({ address: `127.0.0.1:${port}` })}\n`);
});
// The parent holds the other end of stdin: when it dies, so does this.
process.stdin.resume().on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
