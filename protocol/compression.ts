import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from 'node:zlib'
import { isMillraceError, MillraceError } from './errors.js'
import { limits } from './limits.js'
import { lz4 } from './lz4.js'

/**
 * Codecs of a batch's records by their number in its header. Numbers are never changed or reused.
 *
 *     1  gzip    RFC 1952
 *     2  lz4     u32 little-endian size of the decompressed records, then one LZ4 block
 *                (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md)
 *     3  brotli  RFC 7932
 */
export const compressionNumbers = { none: 0, gzip: 1, lz4: 2, brotli: 3 } as const

export type Compression = keyof typeof compressionNumbers

/** Names of the codecs, for options and their errors. */
export const compressions = Object.keys(compressionNumbers) as readonly Compression[]

/** Higher levels cost several times as much for a few percent: bench/micro/compression.ts. */
const gzipLevel = 1
const brotliQuality = 1
const lz4SizeBytes = 4

/** Loads what a codec needs, so that a missing package is known before the first batch. @throws MillraceError CODEC_MISSING */
export function loadCodec(compression: Compression): void {
  if (compression === 'lz4') lz4()
}

/** Compresses the records of a batch, on the calling thread. @throws MillraceError CODEC_MISSING */
export function compress(compression: Compression, records: Uint8Array): Uint8Array {
  switch (compression) {
    case 'none':
      return records
    case 'gzip':
      return gzipSync(records, { level: gzipLevel })
    case 'lz4':
      return lz4().compressSync(asBuffer(records))
    case 'brotli':
      return brotliCompressSync(records, { params: { [constants.BROTLI_PARAM_QUALITY]: brotliQuality } })
  }
}

/**
 * Decompresses the records of a batch to exactly `recordsBytes`; never allocates more than that, whatever the input.
 * @throws MillraceError BAD_BATCH if the codec is unknown or the input is damaged or has another size, CODEC_MISSING
 */
export function decompress(number: number, packed: Uint8Array, recordsBytes: number): Uint8Array {
  if (recordsBytes > limits.batchRecordsBytesMax) throw bad(`the batch header promises ${recordsBytes} bytes`)
  const records = unpack(number, packed, recordsBytes)
  if (records.length !== recordsBytes)
    throw bad(`they have ${records.length} bytes, expected ${recordsBytes}`)
  return records
}

function unpack(number: number, packed: Uint8Array, recordsBytes: number): Uint8Array {
  const maxOutputLength = Math.max(recordsBytes, 1)
  try {
    switch (number) {
      case compressionNumbers.none:
        return packed
      case compressionNumbers.gzip:
        return gunzipSync(packed, { maxOutputLength })
      case compressionNumbers.lz4:
        return unpackLz4(packed, recordsBytes)
      case compressionNumbers.brotli:
        return brotliDecompressSync(packed, { maxOutputLength })
    }
  } catch (cause) {
    if (isMillraceError(cause, 'CODEC_MISSING')) throw cause
    throw bad(cause instanceof Error ? cause.message : String(cause), cause)
  }
  throw bad(`codec ${number} is unknown, expected one of ${Object.values(compressionNumbers).join(', ')}`)
}

function unpackLz4(packed: Uint8Array, recordsBytes: number): Uint8Array {
  // The package allocates as much as these four bytes say, so this code checks them first.
  const claimed = packed.length < lz4SizeBytes ? -1 : asBuffer(packed).readUInt32LE(0)
  if (claimed !== recordsBytes)
    throw new Error(`the lz4 size field is ${claimed}, the batch header expects ${recordsBytes} bytes`)
  return lz4().uncompressSync(packed)
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function bad(problem: string, cause?: unknown): MillraceError {
  return new MillraceError('BAD_BATCH', `can't decompress the records of a batch: ${problem}`, { cause })
}
