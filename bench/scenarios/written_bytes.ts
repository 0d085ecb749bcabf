import type { Compression } from '../../client/index.js'
import { type BenchContext, type Scenario, sizeName } from '../lib/scenario.js'
import type { MessageData } from '../sdk/messages.js'
import { randomValues } from '../sdk/sdk.js'
import { runWrittenBytes, tellsWrittenBytes, type WrittenBytesWork } from '../sdk/written_bytes.js'

interface Case extends Omit<WrittenBytesWork, 'dataRoot' | 'idleMs'> {
  readonly name: string
  readonly target?: number
}

const incompressibleTarget = 2.3
const slow = { messagesPerS: 1_000, messageBytes: 100 }
/** Approximate mean size of a line: it decides their number. */
const lineBytes = 256

/**
 * Bytes written to the disk for each published byte of values, as the system counts them for the broker's process,
 * until it is idle again. One measurement each: these are counts of much work and no times, and they hardly vary.
 */
export const writtenBytesScenario: Scenario = {
  name: 'written-bytes',
  summary: 'bytes written to the disk for each byte published',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    if (!tellsWrittenBytes()) {
      context.progress(`skipped: ${process.platform} does not tell what a process has written`)
      return
    }
    for (const { name, target, ...work } of casesOf(context)) {
      context.progress(name)
      const { writtenBytes, publishedBytes, publishMs } = await runWrittenBytes({
        ...work,
        dataRoot: context.dataRoot,
        ...(context.quick ? { idleMs: 1_000 } : {}),
      })
      context.add({
        name: `bytes written for each published, ${name}`,
        unit: 'B/B',
        better: 'lower',
        ...(target === undefined ? {} : { target }),
        values: [writtenBytes / publishedBytes],
        details: {
          'MB published': publishedBytes / 1e6,
          'MB written': writtenBytes / 1e6,
          'MB/s published': publishedBytes / publishMs / 1000,
        },
      })
    }
  },
}

function casesOf({ quick, sample }: BenchContext): readonly Case[] {
  const bytes = quick ? 64e6 : 1e9
  const random = (messageBytes: number): Case => ({
    name: `random bytes, ${sizeName(messageBytes)}`,
    data: randomValues(messageBytes),
    amount: { bytes },
    target: incompressibleTarget,
  })
  if (quick) return [random(1024)]
  return [
    random(100),
    random(1024),
    random(64 * 1024),
    {
      name: `random bytes, ${sizeName(slow.messageBytes)}, ${slow.messagesPerS} messages/s`,
      data: randomValues(slow.messageBytes),
      amount: { messagesPerS: slow.messagesPerS, durationMs: 10_000 },
    },
    ...(['none', 'lz4', 'gzip', 'brotli'] as const).map((codec) => linesCase(codec, sample)),
  ]
}

function linesCase(compression: Compression, sample: string | undefined): Case {
  const data: MessageData = {
    kind: 'lines',
    messageBytes: lineBytes,
    ...(sample === undefined ? {} : { sample }),
  }
  const what = sample === undefined ? 'generated JSON' : 'lines of the sample'
  const codec = compression === 'none' ? 'no compression' : compression
  return { name: `${what}, ${codec}`, data, compression, amount: { bytes: 128e6 } }
}
