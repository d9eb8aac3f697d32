/** The names in a client's certificate, as access files have them: `dns:`, `uri:`, `email:` of the alternative names, or `cn:` without any. */
import type { TLSSocket } from 'node:tls';

const kinds: Readonly<Record<string, string>> = { DNS: 'dns', URI: 'uri', email: 'email' };

/** Empty where the client sent no certificate, or one that none of our authorities signed. */
export function certificateNamesOf(socket: Pick<TLSSocket, 'authorized' | 'getPeerCertificate'>): readonly string[] {
  if (!socket.authorized) return [];
  // Without a certificate there is an object without fields.
  const { subject, subjectaltname } = socket.getPeerCertificate() as Partial<
    ReturnType<TLSSocket['getPeerCertificate']>
  >;
  if (subjectaltname !== undefined) return alternativeNames(subjectaltname);
  const commonName: unknown = subject?.CN;
  return typeof commonName === 'string' ? [`cn:${commonName}`] : [];
}

/**
 * Of `DNS:a, URI:b, …` as Node writes them. Names with characters that could be mistaken for the list's own are quoted there, in JSON:
 * nobody needs those, and they are left out.
 */
export function alternativeNames(text: string): string[] {
  const withoutQuoted = text.replace(/[^,"]*"(?:[^"\\]|\\.)*"/g, '');
  return withoutQuoted.split(', ').flatMap((entry) => {
    const colon = entry.indexOf(':');
    const kind = kinds[entry.slice(0, colon).trim()];
    return kind === undefined ? [] : [`${kind}:${entry.slice(colon + 1)}`];
  });
}
