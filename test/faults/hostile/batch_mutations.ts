import { crc32, gzipSync } from 'node:zlib'
import {
  batchHeaderBytes,
  type Compression,
  compressionNumbers,
  compressions,
  RecordBatchBuilder,
} from '../../../protocol/index.js'
import type { Random } from '../../helpers/random.js'

/** Positions of the fields of a batch header, and their bytes; see protocol/batch_header.ts. */
const headerFields = [
  { at: 0, bytes: 4 },
  { at: 8, bytes: 8 },
  { at: 16, bytes: 1 },
  { at: 17, bytes: 1 },
  { at: 18, bytes: 2 },
  { at: 20, bytes: 4 },
  { at: 24, bytes: 8 },
  { at: 32, bytes: 8 },
  { at: 40, bytes: 8 },
  { at: 48, bytes: 4 },
  { at: 52, bytes: 4 },
  { at: 56, bytes: 4 },
  { at: 60, bytes: 4 },
] as const

const compressionAt = 17
const recordsBytesAt = 56
const interestingBytes = [0, 1, 0x7f, 0x80, 0xff] as const
const interesting = [0n, 1n, 2n, 0x7fn, 0xffn, 0x7fff_ffffn, 0xffff_ffffn, (1n << 53n) - 1n, 1n << 53n, ~0n]
const checksummedFrom = 16

/** Writes the size and checksum that fit the bytes of a batch, like an attacker who knows the format. */
export function seal(batch: Buffer): Buffer {
  if (batch.length < batchHeaderBytes) return batch
  batch.writeUInt32LE(batch.length, 0)
  batch.writeUInt32LE(crc32(batch.subarray(checksummedFrom)), 4)
  return batch
}

/** Sets one field of the header to another value, then seals the batch so that the checksum hides it. */
export function mutateBatchHeader(batch: Buffer, random: Random): Buffer {
  const mutated = Buffer.from(batch)
  if (mutated.length < batchHeaderBytes) return mutated
  const { at, bytes } = random.pick(headerFields)
  if (random.chance(0.5)) {
    mutated[at + random.int(0, bytes - 1)] = random.int(0, 255)
  } else {
    let value = random.pick(interesting)
    for (let i = 0; i < bytes; i++) {
      mutated[at + i] = Number(value & 0xffn)
      value >>= 8n
    }
  }
  const lengthLies = at === 0
  return lengthLies ? mutated : seal(mutated)
}

/** Changes the records after the header, in place or in size, and seals the batch. */
export function mutateRecords(batch: Buffer, random: Random): Buffer {
  if (batch.length <= batchHeaderBytes) return Buffer.from(batch)
  let mutated = Buffer.from(batch)
  for (let n = random.int(1, 4); n > 0; n--) {
    const at = random.int(batchHeaderBytes, mutated.length - 1)
    mutated[at] = random.chance(0.5) ? random.int(0, 255) : random.pick(interestingBytes)
  }
  if (random.chance(0.2)) mutated = mutated.subarray(0, random.int(batchHeaderBytes, mutated.length))
  if (random.chance(0.7) && mutated[compressionAt] === compressionNumbers.none)
    mutated.writeUInt32LE(mutated.length - batchHeaderBytes, recordsBytesAt)
  return seal(mutated)
}

/** A batch with a correct header and odd records. */
export function oddBatch(random: Random, producerIds: readonly number[]): Buffer {
  const builder = new RecordBatchBuilder()
  const count = random.chance(0.02) ? 2_000 : random.int(1, 6)
  const nowMs = Date.now()
  for (let n = 0; n < count; n++) {
    builder.append({
      key: random.chance(0.3) ? null : oddBytes(random),
      value: random.chance(0.2) ? null : oddBytes(random),
      headers: random.chance(0.3) ? oddHeaders(random) : undefined,
      timestamp: random.chance(0.9)
        ? nowMs - random.int(0, 10_000)
        : random.pick([0, nowMs + 86_400_000, 2 ** 53 - 1]),
    })
  }
  const codec: Compression = random.pick(compressions)
  const producer = {
    producerId: random.chance(0.5) || producerIds.length === 0 ? 0 : random.pick(producerIds),
    producerEpoch: random.int(0, 1),
    baseSequence: random.chance(0.5) ? random.int(0, 10) : random.pick([2 ** 31, 2 ** 32 - 1]),
  }
  return Buffer.from(builder.finish(codec, producer))
}

function oddHeaders(random: Random): Record<string, Uint8Array> {
  const names = ['', '__proto__', 'constructor', 'h'.repeat(300)].slice(0, random.int(1, 4))
  return Object.fromEntries(names.map((name) => [name, oddBytes(random)]))
}

function oddBytes(random: Random): Uint8Array {
  return random.chance(0.02) ? Buffer.alloc(random.int(0, 20_000)) : random.bytes(random.int(0, 40))
}

/** Batches of a few KB that decompress to `recordsBytes` and more, with sizes that are true, too small, or absurd. */
export function batchBombs(recordsBytes: number): Buffer[] {
  const bombs: Buffer[] = []
  for (const codec of compressions) {
    if (codec === 'none') continue
    const builder = new RecordBatchBuilder(recordsBytes + 1024)
    builder.append({ value: Buffer.alloc(recordsBytes), timestamp: 0 })
    const packed = Buffer.from(builder.finish(codec))
    for (const claimed of [undefined, 1_000, 0xffff_ffff]) {
      const bomb = Buffer.from(packed)
      if (claimed !== undefined) {
        bomb.writeUInt32LE(claimed, recordsBytesAt)
        if (codec === 'lz4') bomb.writeUInt32LE(claimed, batchHeaderBytes)
      }
      bombs.push(seal(bomb))
    }
  }
  bombs.push(nestedGzip(recordsBytes))
  return bombs
}

/** Many gzip members one after the other, each of which grows. */
function nestedGzip(recordsBytes: number): Buffer {
  const member = gzipSync(Buffer.alloc(recordsBytes / 8))
  const bomb = Buffer.concat([Buffer.alloc(batchHeaderBytes), ...Array<Buffer>(16).fill(member)])
  bomb[16] = 1
  bomb[compressionAt] = compressionNumbers.gzip
  bomb.writeUInt32LE(1, 20)
  bomb.writeUInt32LE(recordsBytes, recordsBytesAt)
  return seal(bomb)
}
