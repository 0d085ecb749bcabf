import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect, defineTopic } from '../../../client/index.js'
import { commands } from '../../../protocol/index.js'
import { connectHello } from '../../helpers/raw_client.js'
import type { Campaign, RoundContext } from '../campaign.js'
import { percentile } from '../figures.js'
import { Findings, mib } from '../findings.js'
import { LoadProcess } from '../load/calls.js'
import { MemoryWatch } from '../load/memory_watch.js'
import { readerValue } from '../load/reader.js'
import type { StalledCalls } from '../load/stalled_process.js'
import type { StreamCalls } from '../load/stream_process.js'
import { linux } from '../machine/requirements.js'
import { BrokerProcess } from '../trial/broker_process.js'

const partitions = 8
const valueBytes = 4 * 1024
const fetchBytesMax = 4 * mib
const healthyMessagesPerS = 200
const outboundBytesMax = 64 * mib
/**
 * Above what the broker takes when as many consumers read all of it and don't stall: replies that wait (the budget, and
 * the one reply that may overshoot it, half a frame), and garbage between two collections.
 */
const growthBytesMax = outboundBytesMax + 8 * mib + 64 * mib
/** So long after the consumers have asked the broker has filled their sockets, which is work and no stall. */
const onsetMs = 3_000
const settleMs = 1_000
const healthyFactorMax = 2
/** A tail that a busy machine makes by itself, so that twice a very small baseline is not the bound. */
const healthyMsMin = 25

interface Size {
  readonly rawReaders: number
  readonly sdkReaders: number
  readonly topicBytes: number
  readonly baselineMs: number
  readonly stalledMs: number
}

const full: Size = {
  rawReaders: 80,
  sdkReaders: 20,
  topicBytes: 48 * mib,
  baselineMs: 10_000,
  stalledMs: 20_000,
}
const short: Size = {
  rawReaders: 24,
  sdkReaders: 4,
  topicBytes: 32 * mib,
  baselineMs: 1_000,
  stalledMs: 3_000,
}

/**
 * 100 consumers take nothing of what they asked for, together many times what the broker may hold for them, beside a
 * healthy publisher and consumer. Then they continue to read.
 */
export const stalledConsumers: Campaign = {
  name: 'stalled-consumers',
  title: '100 consumers stop reading their sockets, then continue',
  rounds: { full: 5, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: linux,
  async round(context) {
    const size = context.short ? short : full
    const findings = new Findings()
    const dir = await context.tempDir()
    // A small tail cache: what stalled consumers ask for comes from the disk and is theirs alone.
    const settings = { outboundBytesMax, tailCacheBytes: mib, overloadTimeoutMs: 2_000 }
    const broker = await BrokerProcess.start(context, { dir, settings, planted: context.planted })
    const client = await connect(broker.server)
    context.defer(() => client.close({ timeoutMs: 0 }))
    const ends = await fill(client, size.topicBytes)
    const healthy = LoadProcess.start<StreamCalls>(context, 'healthy stream', streamScript)
    await healthy.call('start', {
      server: broker.server,
      topic: 'healthy',
      messagesPerS: healthyMessagesPerS,
    })
    const stalled = LoadProcess.start<StalledCalls>(context, 'stalled consumers', stalledScript)
    const plan = {
      address: { host: broker.host, port: broker.port },
      topic: 'large',
      topicId: await topicIdOf(broker),
      ends,
      fetchBytesMax,
      rawReaders: size.rawReaders,
      sdkReaders: size.sdkReaders,
    }
    const memory = new MemoryWatch(context, broker.pid)
    const readers = await stalled.call('read', plan)
    await sleep(settleMs)
    await healthy.call('latencies')
    await sleep(size.baselineMs)
    const baselineMs = await healthy.call('latencies')
    const base = memory.peak
    memory.reset()

    await stalled.call('stall', plan)
    await sleep(onsetMs)
    const onset = await healthy.call('latencies')
    await sleep(size.stalledMs)
    const stalledMs = await healthy.call('latencies')
    const resumed = await stalled.call('resume')
    const result = await healthy.call('stop')
    const { peak } = memory

    findings.addAll('stalled-consumer', [...readers.problems, ...resumed.problems])
    findings.addAll('healthy-stream', result.problems)
    findings.addAll(
      'healthy-publish-failed',
      result.failed.map((code) => `a publish of the healthy publisher failed: ${code}`),
    )
    judgeMemory(findings, base.anonBytes, peak.anonBytes)
    if (!context.short) judgeLatency(findings, baselineMs, stalledMs)
    report(context, baselineMs, stalledMs, peak.anonBytes - base.anonBytes, resumed.thrownOut)
    return {
      operations: result.published + result.received + readers.messages + resumed.messages,
      faults: { 'stalled consumers': size.rawReaders, 'paused consumers': size.sdkReaders },
      findings: findings.list,
      samples: {
        'healthy end to end, nobody stalled ms': baselineMs,
        'healthy end to end, others fill their sockets ms': onset,
        'healthy end to end, others stalled ms': stalledMs,
        'broker growth MiB': [(peak.anonBytes - base.anonBytes) / mib],
        'broker resident MiB': [peak.rssBytes / mib],
        disconnected: [resumed.thrownOut],
      },
    }
  },
}

const streamScript = new URL('../load/stream_process.js', import.meta.url)
const stalledScript = new URL('../load/stalled_process.js', import.meta.url)

/** Returns the end offset of each partition. */
async function fill(client: Client, bytes: number): Promise<number[]> {
  const topic = defineTopic('large')
  await client.topics.create('large', { partitions })
  const each = Math.floor(bytes / valueBytes / partitions)
  const ends = new Array<number>(partitions).fill(each)
  function* messages(): Iterable<{ value: Uint8Array; partition: number }> {
    for (let offset = 0; offset < each; offset++) {
      for (let partition = 0; partition < partitions; partition++)
        yield { value: readerValue(partition, offset, valueBytes), partition }
    }
  }
  await client.publishMany(topic, messages())
  return ends
}

async function topicIdOf(broker: BrokerProcess): Promise<number> {
  const client = await connectHello(broker)
  const { body } = await client.request(commands.metadata, { topics: ['large'] })
  client.destroy()
  return body.topics[0]?.topicId ?? 0
}

function judgeMemory(findings: Findings, baseBytes: number, peakBytes: number): void {
  const grownBytes = peakBytes - baseBytes
  findings.expect(
    grownBytes <= growthBytesMax,
    'memory-cap',
    () =>
      `the broker took ${Math.round(grownBytes / mib)} MiB more than before, ${growthBytesMax / mib} MiB are expected at most`,
  )
}

function judgeLatency(findings: Findings, baseline: readonly number[], stalled: readonly number[]): void {
  const basis = percentile(baseline, 0.99)
  const p99 = percentile(stalled, 0.99)
  findings.expect(
    p99 <= Math.max(basis * healthyFactorMax, healthyMsMin),
    'healthy-latency',
    () =>
      `p99 of the healthy stream: ${p99.toFixed(1)} ms while others stalled, ${basis.toFixed(1)} ms before`,
  )
}

function report(
  context: RoundContext,
  baseline: readonly number[],
  stalled: readonly number[],
  grownBytes: number,
  thrownOut: number,
): void {
  const figures = (values: readonly number[]): string =>
    [0.5, 0.99, 1].map((share) => percentile(values, share).toFixed(1)).join(' / ')
  context.log(
    `p50 / p99 / max ${figures(baseline)} ms before, ${figures(stalled)} ms with stalled consumers; ${Math.round(grownBytes / mib)} MiB more, ${thrownOut} disconnected`,
  )
}
