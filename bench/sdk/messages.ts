import type { MessageInput } from '../../client/index.js'
import { jsonLines, randomBytes, readSample } from '../lib/sample_data.js'

/**
 * The content of messages. "repeated": one value of JSON again and again; "random": incompressible bytes; "lines":
 * the lines of `sample`, or of generated JSON, each a message of its own size.
 */
export interface MessageData {
  readonly kind: 'repeated' | 'random' | 'lines'
  /** Size of each value; not for "lines". */
  readonly messageBytes: number
  /** A file, decompressed when its name ends in .gz. */
  readonly sample?: string
  /** Number of keys, in a fixed random order. Default: no keys. */
  readonly keys?: number
}

/** Repeated values are far enough apart that no codec sees the previous one. */
const poolBytes = 32 * 1024 * 1024
const poolMessagesMax = 32_768
const linesBytesMax = 64 * 1024 * 1024
const generatedLinesBytes = 8 * 1024 * 1024

/** An endless source of messages. */
export class MessageSource {
  readonly #values: readonly Buffer[]
  readonly #keys: readonly string[] | undefined
  #next = 0
  #random = 1

  private constructor(values: readonly Buffer[], keys: number | undefined) {
    this.#values = values
    this.#keys = keys === undefined ? undefined : Array.from({ length: keys }, (_, i) => `key-${i}`)
  }

  /** @throws the error of the system if the sample cannot be read */
  static async open(data: MessageData): Promise<MessageSource> {
    return new MessageSource(await valuesOf(data), data.keys)
  }

  next(): MessageInput<Uint8Array, string> & { readonly value: Buffer } {
    const value = this.#values[this.#next] as Buffer
    this.#next = this.#next + 1 === this.#values.length ? 0 : this.#next + 1
    return this.#keys === undefined ? { value } : { key: this.#nextKey(this.#keys), value }
  }

  /** Mean size of a value. */
  get bytesMean(): number {
    return this.#values.reduce((sum, { length }) => sum + length, 0) / this.#values.length
  }

  /** xorshift32 (Marsaglia, "Xorshift RNGs", 2003): as cheap as a counter, and no two partitions get their keys in turn. */
  #nextKey(keys: readonly string[]): string {
    this.#random ^= this.#random << 13
    this.#random ^= this.#random >>> 17
    this.#random ^= this.#random << 5
    return keys[(this.#random >>> 0) % keys.length] as string
  }
}

async function valuesOf({ kind, messageBytes, sample }: MessageData): Promise<readonly Buffer[]> {
  switch (kind) {
    case 'repeated':
      return [jsonLines(messageBytes)]
    case 'random':
      return cut(randomBytes(poolBytes), messageBytes)
    case 'lines':
      return linesOf(sample === undefined ? jsonLines(generatedLinesBytes) : await readSample(sample))
  }
}

function cut(bytes: Buffer, eachBytes: number): Buffer[] {
  const count = Math.min(Math.floor(bytes.length / eachBytes), poolMessagesMax)
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * eachBytes, (i + 1) * eachBytes))
}

function linesOf(text: Buffer): Buffer[] {
  const lines: Buffer[] = []
  for (let from = 0; from < Math.min(text.length, linesBytesMax); ) {
    const end = text.indexOf('\n', from)
    const to = end === -1 ? text.length : end
    if (to > from) lines.push(text.subarray(from, to))
    from = to + 1
  }
  if (lines.length === 0) throw new Error('the sample holds no lines')
  return lines
}
