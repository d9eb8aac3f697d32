/** Any message in the wire format of protocol buffers as a list of fields, without knowing what they mean. */

export interface Field {
  number: number;
  /** 0: varint; 1: 64 bits; 2: with a length; 5: 32 bits. */
  wire: number;
  /** A varint, or the bytes of the others. */
  value: bigint | Buffer;
}

/** Null where the bytes are no message. */
export function fieldsOf(bytes: Uint8Array): Field[] | null {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint | null => {
    let value = 0n;
    for (let shift = 0n; at < bytes.length && shift < 70n; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    return null;
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag === null) return null;
    const wire = Number(tag & 7n);
    const number = Number(tag >> 3n);
    if (number === 0 || number > 0x1fffffff) return null;
    if (wire === 0) {
      const value = varint();
      if (value === null) return null;
      fields.push({ number, wire, value });
      continue;
    }
    const length = wire === 1 ? 8n : wire === 5 ? 4n : wire === 2 ? varint() : null;
    if (length === null || length > BigInt(bytes.length - at)) return null;
    fields.push({ number, wire, value: Buffer.from(bytes.subarray(at, at + Number(length))) });
    at += Number(length);
  }
  return fields;
}

export function messageOf(fields: readonly Field[]): Buffer {
  const parts: Buffer[] = [];
  for (const { number, wire, value } of fields) {
    parts.push(varintBytes((BigInt(number) << 3n) | BigInt(wire)));
    if (typeof value === 'bigint') parts.push(varintBytes(value));
    else {
      if (wire === 2) parts.push(varintBytes(BigInt(value.length)));
      parts.push(value);
    }
  }
  return Buffer.concat(parts);
}

function varintBytes(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 128n) {
      bytes.push(Number(rest));
      return Buffer.from(bytes);
    }
    bytes.push(Number(rest & 127n) | 128);
  }
}
