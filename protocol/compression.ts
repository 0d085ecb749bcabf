import { gunzipSync, gzipSync } from 'node:zlib'
import { MillraceError } from './errors.js'
import { limits } from './limits.js'

/** Codecs of a batch's records by their number in its header. Numbers are never changed or reused. */
export const compressionNumbers = { none: 0, gzip: 1 } as const

export type Compression = keyof typeof compressionNumbers

/** Names of the codecs, for options and their errors. */
export const compressions = Object.keys(compressionNumbers) as readonly Compression[]

/** gzip's fastest level: higher ones cost several times as much for a few percent (bench/micro/compression.ts). */
const gzipLevel = 1

/** Compresses the records of a batch. */
export function compress(compression: Compression, records: Uint8Array): Uint8Array {
  switch (compression) {
    case 'none':
      return records
    case 'gzip':
      return gzipSync(records, { level: gzipLevel })
  }
}

/**
 * Decompresses the records of a batch to exactly `recordsBytes`; never allocates more than that, whatever the input.
 * @throws MillraceError BAD_BATCH when the codec is unknown or the input is damaged or has another size
 */
export function decompress(number: number, packed: Uint8Array, recordsBytes: number): Uint8Array {
  if (recordsBytes > limits.batchRecordsBytesMax) throw bad(`it would grow to ${recordsBytes} bytes`)
  const records = unpack(number, packed, recordsBytes)
  if (records.length !== recordsBytes)
    throw bad(`it grew to ${records.length} bytes, expected ${recordsBytes}`)
  return records
}

function unpack(number: number, packed: Uint8Array, recordsBytes: number): Uint8Array {
  switch (number) {
    case compressionNumbers.none:
      return packed
    case compressionNumbers.gzip:
      try {
        return gunzipSync(packed, { maxOutputLength: Math.max(recordsBytes, 1) })
      } catch (cause) {
        throw bad('gzip refuses it', cause)
      }
    default:
      throw bad(`codec ${number} is unknown, expected one of ${Object.values(compressionNumbers).join(', ')}`)
  }
}

function bad(problem: string, cause?: unknown): MillraceError {
  return new MillraceError('BAD_BATCH', `the records of a batch can't be decompressed: ${problem}`, { cause })
}
