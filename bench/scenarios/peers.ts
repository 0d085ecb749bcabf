import { compare, type NamedMeasured } from '../lib/comparison.js'
import type { Contender, RunningContender } from '../lib/contender.js'
import type { LatencyFigures } from '../lib/latency.js'
import {
  type BenchContext,
  type FigureOptions,
  latencyDetails,
  type Scenario,
  sizeName,
  throughputDetails,
} from '../lib/scenario.js'
import type { Interval, Throughput } from '../lib/throughput.js'
import { contendersFor } from '../peers/index.js'

type Work = ThroughputOfMessages | LatencyAtRate

interface ThroughputOfMessages {
  readonly kind: 'publish' | 'endToEnd'
  readonly messageBytes: number
}

interface LatencyAtRate {
  readonly kind: 'latency'
  readonly messageBytes: number
  readonly messagesPerS: number
}

const latencyBytes = 100

const works: readonly Work[] = [
  { kind: 'publish', messageBytes: 100 },
  { kind: 'publish', messageBytes: 1024 },
  { kind: 'endToEnd', messageBytes: 100 },
  { kind: 'endToEnd', messageBytes: 1024 },
  { kind: 'latency', messageBytes: latencyBytes, messagesPerS: 1_000 },
  { kind: 'latency', messageBytes: latencyBytes, messagesPerS: 5_000 },
]
const quickWorks = works.filter(({ kind, messageBytes }) => kind !== 'latency' && messageBytes === 100)

/** Target of Millrace as a multiple of their figure. */
const throughputTargets: Readonly<Record<string, number>> = {
  redis: 5,
  nats: 20,
  'rabbitmq-classic': 20,
  kafka: 1,
  'kafka-fsync': 1,
  pipe: 0.8,
}
/** Most p99 of Millrace as a multiple of theirs. */
const latencyTargets: Readonly<Record<string, number>> = {
  redis: 1,
  'redis-fsync': 1,
  nats: 1,
  'nats-fsync': 1,
}
const p50TargetMs = 1.5

const contenders = contendersFor('publish')

/** All contenders in turn, run by run, so that changes of the machine affect all of them. */
export const peersScenario: Scenario = {
  name: 'peers',
  summary: 'Millrace, the pipe, Redis Streams, NATS JetStream, RabbitMQ and Kafka in turn',
  byDefault: true,
  contenders: contenders.map(({ id }) => id),
  run: (context) =>
    compare(context, {
      contenders,
      isInQuick,
      works: context.quick ? quickWorks : works,
      nameOf: workName,
      measure: (running, work) => measure(running, work, intervalOf(context, work)),
      target: ({ name }) => (name.startsWith('p50 ') ? p50TargetMs : undefined),
      ratioTarget: ratioTargetOf,
    }),
}

/** A quick bench skips the variants that only sync more or use another client. */
function isInQuick({ id, durability }: Contender): boolean {
  return id === 'millrace' || id === 'pipe' || (durability === 'default' && id !== 'kafka-js')
}

function intervalOf(context: BenchContext, { kind }: Work): Interval {
  return kind === 'latency' ? context.latencyInterval : context.shortInterval
}

/** The figures of one kind of work; none if the contender cannot do it. */
async function measure(running: RunningContender, work: Work, interval: Interval): Promise<NamedMeasured> {
  if (work.kind !== 'latency') {
    const throughput = await running[work.kind]?.({ ...work, ...interval })
    return throughput === undefined ? [] : throughputFigures(work, throughput)
  }
  const latency = await running.latency?.({ ...work, ...interval })
  return latency === undefined ? [] : latencyFigures(work, latency)
}

function throughputFigures(work: ThroughputOfMessages, throughput: Throughput): NamedMeasured {
  const { messagesPerS, mbPerS, series = [], writtenBytesPerS } = throughput
  const details = { ...throughputDetails(throughput) }
  // In end to end the publisher may be ahead of the consumer, whose bytes were counted.
  if (writtenBytesPerS !== undefined && work.kind === 'publish')
    details['bytes written per byte'] = writtenBytesPerS / (mbPerS * 1e6)
  const figure = { name: workName(work), unit: 'messages/s', better: 'higher' } as const
  return [[figure, { value: messagesPerS, details, series }]]
}

function latencyFigures(work: LatencyAtRate, latency: LatencyFigures): NamedMeasured {
  const details = latencyDetails(latency)
  const figure = (percentile: string): FigureOptions => ({
    name: `${percentile} ${workName(work)}`,
    unit: 'ms',
    better: 'lower',
  })
  return [
    [figure('p99'), { value: latency.p99Ms, details, latency }],
    [figure('p50'), { value: latency.p50Ms, details }],
  ]
}

function ratioTargetOf({ name, unit }: FigureOptions, id: string): number | undefined {
  if (unit === 'messages/s') return throughputTargets[id]
  return name.startsWith('p99 ') ? latencyTargets[id] : undefined
}

function workName(work: Work): string {
  const size = sizeName(work.messageBytes)
  if (work.kind === 'latency') return `latency, ${size}, ${work.messagesPerS} messages/s`
  return `${work.kind === 'publish' ? 'publish' : 'end to end'}, ${size}`
}
