import { crc32 } from 'node:zlib'
import {
  checkBatchForStorage,
  commands,
  decodeBody,
  encodeFrame,
  FrameDecoder,
  frameFlags,
  RecordBatchBuilder,
  RecordCursor,
} from '../../protocol/index.js'
import { randomBytes } from '../lib/sample_data.js'
import { sizeName } from '../lib/scenario.js'
import { type MicroCase, mainOfCases } from './cases.js'

/**
 * Measures the cost of the wire format: record batches by the size of their records, control frames, the checksum.
 *
 *     node dist/bench/micro/codec.js
 */

const batchBytes = 256 * 1024
const framesPerCall = 100
const timestamp = 1_700_000_000_000

function batchCases(recordBytes: number): readonly MicroCase[] {
  const value = randomBytes(recordBytes)
  const records = Math.floor(batchBytes / recordBytes)
  const encode = (): Uint8Array => {
    const builder = new RecordBatchBuilder(batchBytes)
    for (let i = 0; i < records; i++) builder.append({ value, timestamp })
    return builder.finish()
  }
  const batch = encode()
  const size = sizeName(recordBytes)
  return [
    { name: `codec, records of ${size}, encoding`, unit: 'records/s', perCall: records, work: encode },
    {
      name: `codec, records of ${size}, decoding`,
      unit: 'records/s',
      perCall: records,
      work: () => {
        const cursor = new RecordCursor(batch)
        let bytes = 0
        while (cursor.next()) bytes += cursor.valueEnd - cursor.valueStart
        return bytes
      },
    },
    {
      name: `codec, records of ${size}, the broker's check`,
      unit: 'records/s',
      perCall: records,
      work: () => checkBatchForStorage(batch),
    },
  ]
}

function frameCases(): readonly MicroCase[] {
  const { number, reply } = commands.publish
  const body = { results: [{ error: 0, baseOffset: 123_456_789 }] }
  const encode = (correlation: number): Buffer => encodeFrame(number, frameFlags.reply, correlation, body)
  const stream = Buffer.concat(Array.from({ length: framesPerCall }, (_, i) => encode(i)))
  return [
    {
      name: 'codec, replies to a publish, encoding',
      unit: 'frames/s',
      perCall: framesPerCall,
      work: () => {
        for (let i = 0; i < framesPerCall; i++) encode(i)
      },
    },
    {
      name: 'codec, replies to a publish, decoding',
      unit: 'frames/s',
      perCall: framesPerCall,
      work: () => {
        for (const frame of new FrameDecoder().push(stream)) reply.read(decodeBody(frame.body), '')
      },
    },
  ]
}

function checksumCase(): MicroCase {
  const bytes = randomBytes(batchBytes)
  return {
    name: 'codec, CRC-32 of 256 KiB',
    unit: 'MB/s',
    perCall: batchBytes / 1e6,
    work: () => crc32(bytes),
  }
}

export function codecCases(): readonly MicroCase[] {
  return [...[100, 1024, 16 * 1024].flatMap(batchCases), ...frameCases(), checksumCase()]
}

await mainOfCases(import.meta.url, (measure) => measure(codecCases()))
