/** What pip's output means, in one line for people. */

interface Cause {
  readonly pattern: RegExp;
  readonly told: string;
}

/** First match wins: without a network pip also says that no version was found, and behind a proxy that the network failed. */
const causes: readonly Cause[] = [
  {
    pattern: /No module named '?pip\b/,
    told: 'python3 has no pip (Debian and Ubuntu: apt-get install python3-pip; others: python3 -m ensurepip)',
  },
  {
    pattern: /DO NOT MATCH THE HASHES/,
    told: 'the package index sent another file than the pinned one, so it was thrown away (a mirror that rebuilds wheels, or worse)',
  },
  { pattern: /No space left on device/, told: 'no space left on the disk' },
  {
    pattern: /CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError/,
    told: "the package index's certificate is not trusted; tell pip of your certificates: pip config set global.cert FILE",
  },
  { pattern: /ProxyError|Proxy Authentication Required/, told: "the proxy refused; see pip's setting 'proxy'" },
  {
    pattern: /\b(?:401|403) (?:Client )?Error|Unauthorized|Forbidden/,
    told: "the package index refused access; see pip's setting 'index-url'",
  },
  {
    pattern:
      /NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Read timed out|Connection (?:refused|reset|aborted)|Max retries exceeded|Network is unreachable|ConnectionError/,
    told: 'the package index cannot be reached; check the network, or copy the plugin from another machine (docs/plugins.md)',
  },
  {
    pattern: /No matching distribution found/,
    told: 'the package index has no such wheel; a mirror may not carry it',
  },
];

/** @param output what pip printed before it failed */
export function pipFailure(output: string): string {
  const known = causes.find(({ pattern }) => pattern.test(output));
  if (known !== undefined) return known.told;
  const errors = output.split('\n').filter((line) => line.startsWith('ERROR: '));
  const line = (errors.at(-1) ?? output.trim().split('\n').at(-1) ?? '').replace(/^ERROR: /, '').trim();
  return line === '' ? 'pip failed and did not say why' : `pip: ${line}`;
}
