import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, Option } from 'commander'
import { type Client, type Compression, durationMs, sizeBytes } from '../../client/index.js'
import { bytesText, compressions, limits, MillraceError } from '../../protocol/index.js'
import { exitCodes } from '../errors.js'
import { Latencies } from '../monitor/latencies.js'
import {
  addressesOf,
  type CommonOptions,
  duration,
  interruptSignal,
  openClient,
  size,
  wholeNumber,
  withCommon,
} from '../options.js'
import { formatBytes, Progress, printJson, printTable } from '../output.js'

interface BenchOptions extends CommonOptions {
  readonly rate: number
  readonly size: string
  readonly duration: string
  readonly partitions: number
  readonly compression: Compression
}

interface BenchResult {
  readonly server: string
  readonly partitions: number
  readonly valueBytes: number
  readonly seconds: number
  readonly published: number
  readonly consumed: number
  readonly publishedPerSecond: number
  readonly publishedBytesPerSecond: number
  /** From publish to receipt by the consumer, in ms; absent if no message arrived. */
  readonly latencyMs:
    | { readonly p50: number; readonly p99: number; readonly p999: number; readonly max: number }
    | undefined
}

/** The largest value, for a record without key and headers. */
const valueBytesMax = limits.batchBytesMax - 96
/** Each value starts with its publish time. */
const stampBytes = 8
/** How long the consumer may take for the remaining messages after the last publish. */
const drainMs = 10_000
/** Values differ, so that compression cannot reduce them to one. */
const valuesCount = 64

export function addBench(program: Command): void {
  withCommon(
    program.command('bench').description('measure publish and consume on a broker, in a temporary topic'),
  )
    .option('--rate <n>', 'messages per second; 0: as fast as the broker acknowledges', wholeNumber(), 0)
    .option('--size <size>', 'size of each value, at least 8 bytes, at most 4 MiB', size, '100')
    .option('--duration <time>', 'how long to publish', duration, '10s')
    .option('-p, --partitions <n>', 'partitions of the topic', wholeNumber(1), 1)
    .addOption(
      new Option('--compression <codec>', 'codec of the batches').choices(compressions).default('none'),
    )
    .action(bench)
}

async function bench(options: BenchOptions): Promise<void> {
  const valueBytes = sizeBytes('size', options.size)
  if (valueBytes < stampBytes)
    throw new MillraceError(
      'BAD_OPTION',
      `--size is ${bytesText(valueBytes)}, expected at least ${bytesText(stampBytes)}`,
    )
  if (valueBytes > valueBytesMax)
    throw new MillraceError(
      'BAD_OPTION',
      `--size is ${bytesText(valueBytes)}, expected at most ${bytesText(valueBytesMax)}`,
    )
  const runMs = durationMs('duration', options.duration)
  if (runMs <= 0)
    throw new MillraceError('BAD_OPTION', `--duration is "${options.duration}", expected a time like 10s`)
  const interrupt = interruptSignal()
  const { signal } = interrupt
  const topic = `millrace-bench-${randomUUID()}`
  const client = await openClient(options, signal, { compression: options.compression })
  try {
    await client.topics.create(topic, { partitions: options.partitions })
    try {
      const measured = await measure(client, topic, { ...options, valueBytes, runMs }, signal)
      report(
        {
          server: addressesOf(options.server).join(),
          partitions: options.partitions,
          valueBytes,
          ...measured,
        },
        options,
      )
    } finally {
      await client.topics.delete(topic)
    }
  } finally {
    interrupt.release()
    await client.close({ timeoutMs: 5_000 })
  }
  if (signal.aborted) process.exitCode = exitCodes.interrupted
}

async function measure(
  client: Client,
  topic: string,
  { rate, valueBytes, runMs }: BenchOptions & { readonly valueBytes: number; readonly runMs: number },
  signal: AbortSignal,
): Promise<
  Pick<
    BenchResult,
    'seconds' | 'published' | 'consumed' | 'publishedPerSecond' | 'publishedBytesPerSecond' | 'latencyMs'
  >
> {
  const latencies = new Latencies()
  const progress = new Progress('published')
  const ending = new AbortController()
  let consumed = 0
  let published = 0
  let isPublished = false
  const consumer = client.consume(topic, { from: 'earliest', signal: ending.signal })
  await consumer.start()
  const consuming = (async () => {
    for await (const { messages } of consumer.batches()) {
      const nowMs = performance.now()
      for (const { valueBytes: bytes } of messages)
        if (bytes !== undefined) latencies.add(nowMs - stampOf(bytes))
      consumed += messages.length
      if (isPublished && consumed >= published) return
    }
  })()
  const startedMs = performance.now()
  try {
    await client.publishMany(topic, valuesFor({ rate, valueBytes, endMs: startedMs + runMs, signal }), {
      onAcknowledged: (count) => {
        published = count
        progress.update(count)
      },
    })
  } catch (error) {
    ending.abort()
    await consuming
    throw error
  } finally {
    progress.done()
  }
  isPublished = true
  if (consumed >= published) ending.abort()
  const seconds = (performance.now() - startedMs) / 1_000
  const drained = setTimeout(() => ending.abort(), drainMs)
  await consuming
  clearTimeout(drained)
  return {
    seconds,
    published,
    consumed,
    publishedPerSecond: published / seconds,
    publishedBytesPerSecond: (published * valueBytes) / seconds,
    latencyMs: latencies.summary(),
  }
}

/** Messages with the publish time in their values, at a rate or as fast as the broker acknowledges. */
async function* valuesFor({
  rate,
  valueBytes,
  endMs,
  signal,
}: {
  readonly rate: number
  readonly valueBytes: number
  readonly endMs: number
  readonly signal: AbortSignal
}): AsyncGenerator<{ readonly value: Uint8Array }> {
  const fills = Array.from({ length: valuesCount }, () => randomBytes(valueBytes))
  const startedMs = performance.now()
  for (let count = 0; !signal.aborted; count++) {
    let nowMs = performance.now()
    // Short pauses: a timer is not exact to the millisecond, but the count of messages is.
    while (rate > 0 && count >= ((nowMs - startedMs) / 1_000) * rate && nowMs < endMs && !signal.aborted) {
      await sleep(1)
      nowMs = performance.now()
    }
    if (nowMs >= endMs) return
    const value = Buffer.from(fills[count % valuesCount] as Buffer)
    value.writeDoubleLE(nowMs, 0)
    yield { value }
  }
}

function stampOf(bytes: Uint8Array): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).readDoubleLE(0)
}

function report(result: BenchResult, { json }: BenchOptions): void {
  if (json) {
    printJson(result)
    return
  }
  const { published, consumed, seconds, publishedPerSecond, publishedBytesPerSecond, latencyMs } = result
  const ms = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} ms`
  printTable([
    [
      'published',
      `${published.toLocaleString('en')} messages of ${result.valueBytes} bytes in ${seconds.toFixed(1)} s`,
    ],
    [
      'rate',
      `${Math.round(publishedPerSecond).toLocaleString('en')}/s, ${formatBytes(Math.round(publishedBytesPerSecond))}/s`,
    ],
    ['consumed', `${consumed.toLocaleString('en')} messages`],
    [
      'latency',
      latencyMs === undefined
        ? '-'
        : `p50 ${ms(latencyMs.p50)}, p99 ${ms(latencyMs.p99)}, p99.9 ${ms(latencyMs.p999)}, max ${ms(latencyMs.max)}`,
    ],
  ])
}
