import { availableParallelism, cpus } from 'node:os'
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import * as lz4 from 'lz4-napi'
import { jsonLines, randomBytes, readSample } from '../lib/sample_data.js'

/**
 * Compares codecs for record batches: size and speed, on the calling thread and on the thread pool.
 *
 *     node dist/bench/micro/compression.js [FILE]
 *
 * FILE is the data to compress (.gz is decompressed first); the default is lines of generated JSON.
 */

interface Codec {
  readonly name: string
  readonly pack: (input: Buffer) => Uint8Array
  readonly unpack: (input: Uint8Array) => Uint8Array
  readonly packAsync: (input: Buffer) => Promise<Uint8Array>
  readonly unpackAsync: (input: Uint8Array) => Promise<Uint8Array>
}

const batchKibs = [16, 64, 256, 1024]
const batchesPerSize = 16
const measureMs = 80
const asyncInFlight = 4

const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = zlib.constants

const codecs: readonly Codec[] = [
  ...[1, 3, 6].map((level) => gzip(level)),
  deflateRaw(1),
  brotli(0),
  brotli(1),
  {
    name: 'lz4',
    pack: (input) => lz4.compressSync(input),
    unpack: (input) => lz4.uncompressSync(input),
    packAsync: (input) => lz4.compress(input),
    unpackAsync: (input) => lz4.uncompress(input),
  },
  ...zstd(1),
  ...zstd(3),
]

function gzip(level: number): Codec {
  return {
    name: `gzip -${level}`,
    pack: (input) => zlib.gzipSync(input, { level }),
    unpack: (input) => zlib.gunzipSync(input),
    packAsync: (input) => promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.gzip)(input, { level }),
    unpackAsync: promisify<zlib.InputType, Buffer>(zlib.gunzip),
  }
}

function deflateRaw(level: number): Codec {
  return {
    name: `deflate -${level}`,
    pack: (input) => zlib.deflateRawSync(input, { level }),
    unpack: (input) => zlib.inflateRawSync(input),
    packAsync: (input) => promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.deflateRaw)(input, { level }),
    unpackAsync: promisify<zlib.InputType, Buffer>(zlib.inflateRaw),
  }
}

function brotli(quality: number): Codec {
  const options = (input: Buffer): zlib.BrotliOptions => ({
    params: { [BROTLI_PARAM_QUALITY]: quality, [BROTLI_PARAM_SIZE_HINT]: input.length },
  })
  return {
    name: `brotli -${quality}`,
    pack: (input) => zlib.brotliCompressSync(input, options(input)),
    unpack: (input) => zlib.brotliDecompressSync(input),
    packAsync: (input) =>
      promisify<Buffer, zlib.BrotliOptions, Buffer>(zlib.brotliCompress)(input, options(input)),
    unpackAsync: promisify<zlib.InputType, Buffer>(zlib.brotliDecompress),
  }
}

type Callback = (error: Error | null, result: Buffer) => void

/** Added in Node.js 22.15 and 23.8. */
interface ZlibWithZstd {
  readonly constants: Readonly<Record<string, number>>
  zstdCompressSync(input: Buffer, options: object): Buffer
  zstdDecompressSync(input: Uint8Array): Buffer
  zstdCompress(input: Buffer, options: object, callback: Callback): void
  zstdDecompress(input: Uint8Array, callback: Callback): void
}

function zstd(level: number): Codec[] {
  if (!('zstdCompressSync' in zlib)) return []
  const library = zlib as unknown as ZlibWithZstd
  const options = { params: { [library.constants.ZSTD_c_compressionLevel as number]: level } }
  return [
    {
      name: `zstd -${level}`,
      pack: (input) => library.zstdCompressSync(input, options),
      unpack: (input) => library.zstdDecompressSync(input),
      packAsync: (input) => promisify<Buffer, object, Buffer>(library.zstdCompress)(input, options),
      unpackAsync: promisify<Uint8Array, Buffer>(library.zstdDecompress),
    },
  ]
}

/** Repeats calls over the inputs for a while and returns MB/s of `bytesEach` per call. */
function measure<T>(inputs: readonly T[], bytesEach: number, work: (input: T) => unknown): number {
  for (const input of inputs) work(input)
  const start = performance.now()
  let calls = 0
  while (performance.now() - start < measureMs) work(inputs[calls++ % inputs.length] as T)
  return (calls * bytesEach) / 1000 / (performance.now() - start)
}

async function measureAsync<T>(
  inputs: readonly T[],
  bytesEach: number,
  work: (input: T) => Promise<unknown>,
): Promise<number> {
  const start = performance.now()
  let calls = 0
  const lane = async (): Promise<void> => {
    while (performance.now() - start < measureMs) await work(inputs[calls++ % inputs.length] as T)
  }
  await Promise.all(Array.from({ length: asyncInFlight }, lane))
  return (calls * bytesEach) / 1000 / (performance.now() - start)
}

async function row(codec: Codec, batches: readonly Buffer[], batchBytes: number): Promise<string> {
  const packed = batches.map(codec.pack)
  batches.forEach((batch, i) => {
    if (!batch.equals(codec.unpack(packed[i] as Uint8Array)))
      throw new Error(`${codec.name} does not give back its input`)
  })
  const packedBytes = packed.reduce((sum, p) => sum + p.length, 0)
  const figures = [
    measure(batches, batchBytes, codec.pack),
    measure(packed, batchBytes, codec.unpack),
    await measureAsync(batches, batchBytes, codec.packAsync),
    await measureAsync(packed, batchBytes, codec.unpackAsync),
  ]
  const ratio = ((batches.length * batchBytes) / packedBytes).toFixed(2)
  return `| ${codec.name} | ${ratio} | ${figures.map((figure) => figure.toFixed(0)).join(' | ')} |`
}

async function main(path: string | undefined): Promise<void> {
  const needed = Math.max(...batchKibs) * 1024 * batchesPerSize
  const real = path === undefined ? jsonLines(needed) : await readSample(path)
  const samples = { [path === undefined ? 'JSON' : 'file']: real, random: randomBytes(needed) }
  console.log(
    `Node.js ${process.version}, ${availableParallelism()} x ${cpus()[0]?.model ?? 'unknown processor'}`,
  )
  console.log(`Speeds in MB/s of uncompressed bytes; async: ${asyncInFlight} calls in flight.\n`)
  for (const [name, sample] of Object.entries(samples)) {
    for (const kib of batchKibs) {
      console.log(`| ${name}, ${kib} KiB | ratio | pack | unpack | pack async | unpack async |`)
      console.log('| --- | --- | --- | --- | --- | --- |')
      const batches = cut(sample, kib * 1024)
      for (const codec of codecs) console.log(await row(codec, batches, kib * 1024))
      console.log('')
    }
  }
}

/** Batches spread over the whole sample. */
function cut(sample: Buffer, batchBytes: number): Buffer[] {
  const stepBytes = Math.floor((sample.length - batchBytes) / (batchesPerSize - 1))
  if (stepBytes < 0) throw new Error(`the file has ${sample.length} bytes, expected at least ${batchBytes}`)
  return Array.from({ length: batchesPerSize }, (_unused, i) =>
    sample.subarray(i * stepBytes, i * stepBytes + batchBytes),
  )
}

await main(process.argv[2])
