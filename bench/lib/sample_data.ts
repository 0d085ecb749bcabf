import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'

const words = [
  'order',
  'user',
  'payment',
  'invoice',
  'created',
  'shipped',
  'eu-west',
  'us-east',
  'pending',
  'retry',
]

/** Lines of JSON as a program might publish them, about 200 bytes each: the same for the same arguments. */
export function jsonLines(totalBytes: number, seed = 1): Buffer {
  const next = generator(seed)
  const word = (): string => words[next() % words.length] as string
  const lines: string[] = []
  for (let bytes = 0; bytes < totalBytes; ) {
    const line = `${JSON.stringify({
      id: `${next().toString(16)}-${next().toString(16)}`,
      type: `${word()}.${word()}`,
      region: word(),
      amount: (next() % 100_000) / 100,
      customer: { name: `${word()} ${word()}`, number: next() % 10_000 },
      tags: [word(), word(), word()],
      at: new Date(1_700_000_000_000 + lines.length * 137).toISOString(),
    })}\n`
    lines.push(line)
    bytes += line.length
  }
  return Buffer.from(lines.join('')).subarray(0, totalBytes)
}

/** Bytes that no codec can make smaller: the same for the same arguments. */
export function randomBytes(totalBytes: number, seed = 1): Buffer {
  const next = generator(seed)
  const bytes = Buffer.alloc(totalBytes)
  for (let i = 0; i < totalBytes; i++) bytes[i] = next() >>> 24
  return bytes
}

/** Reads a whole file, decompressed when its name ends in .gz. */
export async function readSample(path: string): Promise<Buffer> {
  const bytes = await readFile(path)
  return path.endsWith('.gz') ? gunzipSync(bytes) : bytes
}

/** mulberry32: 32-bit unsigned numbers from a seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
}
