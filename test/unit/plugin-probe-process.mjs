/** Stands for the process that loads a plugin; the path says how the plugin behaves. */
const [path, what] = process.argv.slice(2);
const send = (message) => new Promise((resolve) => process.send(message, resolve));

switch (path) {
  case 'works':
    await send({ kind: 'version', pjrt: '0.81' });
    if (what === 'devices') await send({ kind: 'devices', platform: 'cpu', devices: ['cpu', 'cpu'] });
    break;
  case 'refuses':
    await send({ kind: 'version', pjrt: '0.81' });
    await send({ kind: 'failed', why: 'Client_Create: INTERNAL:\n  no device' });
    break;
  case 'tells its environment':
    await send({
      kind: 'failed',
      why: `${what} ${process.env.TPU_SKIP_MDS_QUERY} ${process.env.ALLOW_MULTIPLE_LIBTPU_LOAD}`,
    });
    break;
  case 'crashes':
    process.kill(process.pid, 'SIGSEGV');
    break;
  case 'ends without a word':
    process.exit(7);
    break;
  case 'hangs':
    await send({ kind: 'version', pjrt: '0.81' });
    for (;;);
}
process.exit(0);
