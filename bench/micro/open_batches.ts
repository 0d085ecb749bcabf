import {
  type Compression,
  checkBatchForStorage,
  RecordBatchBuilder,
  RecordCursor,
} from '../../protocol/index.js'
import { jsonLines } from '../lib/sample_data.js'

/**
 * Compares what the broker does with a compressed batch before it stores it (header and checksum) with opening the batch,
 * and measures the batches that take longest to open for their size.
 *
 *     node dist/bench/micro/open_batches.js
 */

const rounds = 200
const valueBytes = 100
const batchBytes = [100 * 1024, 1024 * 1024]
const codecs: readonly Compression[] = ['none', 'lz4', 'gzip', 'brotli']
const zerosBytes = 31 * 1024 * 1024
const frameBytes = 16 * 1024 * 1024

function open(batch: Uint8Array): void {
  const cursor = new RecordCursor(batch)
  while (cursor.next());
}

/** Median time of a call, µs. The two alternate, so that the load of the machine affects both. */
function compare(batch: Uint8Array): { readonly checkUs: number; readonly openUs: number } {
  const check: number[] = []
  const opened: number[] = []
  for (let round = 0; round < rounds; round++) {
    check.push(timeUs(() => checkBatchForStorage(batch)))
    opened.push(timeUs(() => open(batch)))
  }
  return { checkUs: medianOf(check), openUs: medianOf(opened) }
}

function timeUs(work: () => void): number {
  const startMs = performance.now()
  work()
  return (performance.now() - startMs) * 1_000
}

function medianOf(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

function batchOf(values: Iterable<Uint8Array>, compression: Compression): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append({ value, timestamp: 1_700_000_000_000 })
  return builder.finish(compression)
}

for (const bytes of batchBytes) {
  const lines = jsonLines(bytes)
  const values = Array.from({ length: Math.floor(lines.length / valueBytes) }, (_, i) =>
    lines.subarray(i * valueBytes, (i + 1) * valueBytes),
  )
  for (const codec of codecs) {
    const batch = batchOf(values, codec)
    const { checkUs, openUs } = compare(batch)
    const times = (openUs / checkUs).toFixed(1)
    process.stdout.write(
      `${bytes / 1024} KiB of ${valueBytes} B, ${codec}: ${batch.length} bytes, check ${checkUs.toFixed(1)} us, open ${openUs.toFixed(1)} us, ${times} times\n`,
    )
  }
}
for (const codec of codecs.slice(1)) {
  const batch = batchOf([Buffer.alloc(zerosBytes)], codec)
  const openMs = timeUs(() => open(batch)) / 1_000
  const count = Math.floor(frameBytes / batch.length)
  process.stdout.write(
    `31 MiB of zeros, ${codec}: ${batch.length} bytes, open ${openMs.toFixed(0)} ms; ${count} fit into a frame, ${((openMs * count) / 1_000).toFixed(0)} s\n`,
  )
}
