import { MillraceError } from '../protocol/index.js'

/** The place of the batches of one log in one block. `position` 0: they are lost. */
export interface IndexEntry {
  readonly firstOffset: number
  readonly recordCount: number
  readonly bytes: number
  readonly position: number
  readonly lastTimestamp: number
}

const entryBytes = 32
const entriesMax = 64
const entriesAtFirst = 4

/**
 * A page of a log's index: up to 64 entries in ascending order. Memory holds it in its disk format, because there are
 * as
 * many newest pages as partitions. Little-endian, 32 bytes for each entry; it never changes:
 *
 *     0 u64 firstOffset | 8 u64 position | 16 u64 lastTimestamp | 24 u32 recordCount | 28 u32 bytes
 */
export class IndexPage {
  #bytes: Buffer
  #count: number

  private constructor(bytes: Buffer, count: number) {
    this.#bytes = bytes
    this.#count = count
  }

  static empty(): IndexPage {
    return new IndexPage(Buffer.alloc(0), 0)
  }

  /** @throws MillraceError CORRUPT */
  static decode(value: Uint8Array): IndexPage {
    const count = value.length / entryBytes
    if (!Number.isInteger(count) || count === 0 || count > entriesMax)
      throw new MillraceError('CORRUPT', `a page of a log index has the wrong size, ${value.length} bytes`)
    return new IndexPage(Buffer.from(value.buffer, value.byteOffset, value.byteLength), count)
  }

  /** Encodes the page for `decode`. The page may grow afterwards; the result does not change. */
  encode(): Uint8Array {
    return this.#bytes.subarray(0, this.#count * entryBytes)
  }

  get count(): number {
    return this.#count
  }

  get isFull(): boolean {
    return this.#count >= entriesMax
  }

  /** First offset of the page; undefined if it is empty. */
  get firstOffset(): number | undefined {
    return this.#count === 0 ? undefined : this.#offset(0)
  }

  /** Offset after the last record of the page; 0 if it is empty. */
  get endOffset(): number {
    return this.#count === 0 ? 0 : this.#end(this.#count - 1)
  }

  /** Position of the block of the last entry; 0 if the page is empty or its records are lost. */
  get lastPosition(): number {
    return this.#count === 0 ? 0 : readU64(this.#bytes, (this.#count - 1) * entryBytes + 8)
  }

  /** Appends an entry; the page must not be full. */
  push(entry: IndexEntry): void {
    const at = this.#count * entryBytes
    if (at === this.#bytes.length) {
      const entries = Math.min(entriesMax, Math.max(entriesAtFirst, this.#count * 2))
      const larger = Buffer.allocUnsafeSlow(entries * entryBytes)
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    writeU64(this.#bytes, at, entry.firstOffset)
    writeU64(this.#bytes, at + 8, entry.position)
    writeU64(this.#bytes, at + 16, entry.lastTimestamp)
    this.#bytes.writeUInt32LE(entry.recordCount, at + 24)
    this.#bytes.writeUInt32LE(entry.bytes, at + 28)
    this.#count++
  }

  /** Entries from the one that holds `offset`, or the next one, to the end. */
  from(offset: number): IndexEntry[] {
    let low = 0
    let high = this.#count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#end(middle) > offset) high = middle
      else low = middle + 1
    }
    const entries: IndexEntry[] = []
    for (let n = low; n < this.#count; n++) entries.push(this.#entry(n))
    return entries
  }

  #entry(n: number): IndexEntry {
    const at = n * entryBytes
    return {
      firstOffset: readU64(this.#bytes, at),
      position: readU64(this.#bytes, at + 8),
      lastTimestamp: readU64(this.#bytes, at + 16),
      recordCount: this.#bytes.readUInt32LE(at + 24),
      bytes: this.#bytes.readUInt32LE(at + 28),
    }
  }

  #offset(n: number): number {
    return readU64(this.#bytes, n * entryBytes)
  }

  #end(n: number): number {
    return this.#offset(n) + this.#bytes.readUInt32LE(n * entryBytes + 24)
  }
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * 0x1_0000_0000 + bytes.readUInt32LE(at)
}

function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, at)
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}
