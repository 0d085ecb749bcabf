import type { Contender, RunningContender } from '../lib/contender.js'
import type { LatencyFigures } from '../lib/latency.js'
import {
  type BenchContext,
  type FigureOptions,
  latencyDetails,
  type Measured,
  type Scenario,
  sizeName,
  throughputDetails,
} from '../lib/scenario.js'
import { median } from '../lib/statistics.js'
import type { Interval, Throughput } from '../lib/throughput.js'
import { contenders } from '../peers/index.js'

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

const ours = 'millrace'
const pipe = 'pipe'

/** How many times as much as theirs Millrace wants to reach. */
const throughputTargets: Readonly<Record<string, number>> = {
  redis: 5,
  nats: 20,
  'rabbitmq-classic': 20,
  kafka: 1,
  'kafka-fsync': 1,
  pipe: 0.8,
}
/** How many times theirs the p99 of Millrace may be. */
const latencyTargets: Readonly<Record<string, number>> = {
  redis: 1,
  'redis-fsync': 1,
  nats: 1,
  'nats-fsync': 1,
}
const p50TargetMs = 1.5

/** All contenders in turn, again and again, so that what changes on the machine meets all of them. */
export const peersScenario: Scenario = {
  name: 'peers',
  summary: 'Millrace, the pipe, Redis Streams, NATS JetStream, RabbitMQ and Kafka in turn',
  byDefault: true,
  contenders: contenders.map(({ id }) => id),
  async run(context: BenchContext): Promise<void> {
    const taking = await takingPart(context)
    const results = new Results(taking.map(({ id }) => id))
    for (let run = 0; run < context.runs; run++)
      for (const contender of taking) await runContender(context, contender, run, results)
    results.addTo(context)
  },
}

/** Those that were asked for and can run here; a quick bench leaves those out that only sync more or have another client. */
async function takingPart(context: BenchContext): Promise<readonly Contender[]> {
  const quick = ({ id, durability }: Contender): boolean =>
    id === ours || id === pipe || (durability === 'default' && id !== 'kafka-js')
  const chosen =
    context.contenders === undefined
      ? contenders.filter((contender) => !context.quick || quick(contender))
      : contenders.filter(({ id }) => context.contenders?.includes(id))
  const taking: Contender[] = []
  for (const contender of chosen) {
    try {
      if (await context.contender(contender)) taking.push(contender)
    } catch (error) {
      context.failed(contender.id, error)
    }
  }
  return taking
}

/** One run of all its work; when something fails, the rest of the run is left out. */
async function runContender(
  context: BenchContext,
  contender: Contender,
  run: number,
  results: Results,
): Promise<void> {
  const { id } = contender
  let doing = 'start'
  try {
    const running = await contender.start(context.dataRoot)
    try {
      for (const work of context.quick ? quickWorks : works) {
        doing = workName(work)
        context.progress(`${id}, ${doing}: run ${run + 1} of ${context.runs}`)
        for (const [figure, measured] of await measure(running, work, intervalOf(context, work)))
          results.set(figure, id, run, measured)
      }
      doing = 'stop'
    } finally {
      await running.stop()
    }
  } catch (error) {
    context.failed(`${id}, ${doing}`, error)
  }
}

type NamedMeasured = readonly (readonly [FigureOptions, Measured])[]

/** What one piece of work gives; nothing where the contender can't do it. */
function intervalOf(context: BenchContext, { kind }: Work): Interval {
  return kind === 'latency' ? context.latencyInterval : context.shortInterval
}

async function measure(running: RunningContender, work: Work, interval: Interval): Promise<NamedMeasured> {
  if (work.kind !== 'latency') {
    const throughput = await running[work.kind]({ ...work, ...interval })
    return throughputFigures(work, throughput)
  }
  const latency = await running.latency?.({ ...work, ...interval })
  return latency === undefined ? [] : latencyFigures(work, latency)
}

function throughputFigures(work: ThroughputOfMessages, throughput: Throughput): NamedMeasured {
  const { messagesPerS, mbPerS, series = [], writtenBytesPerS } = throughput
  const details = { ...throughputDetails(throughput) }
  // End to end the publisher may be ahead of the consumer, whose bytes are those that were counted.
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

/** What was measured, by figure, contender and run. */
class Results {
  readonly #ids: readonly string[]
  readonly #figures = new Map<string, FigureOptions>()
  readonly #measured = new Map<string, Map<number, Measured>>()

  constructor(ids: readonly string[]) {
    this.#ids = ids
  }

  set(figure: FigureOptions, id: string, run: number, measured: Measured): void {
    this.#figures.set(figure.name, figure)
    this.#measured.set(keyOf(figure, id), this.#runs(figure, id).set(run, measured))
  }

  /** Adds a figure for each contender, and then how Millrace compares with those that it has a target for. */
  addTo(context: BenchContext): void {
    for (const figure of this.#figures.values()) {
      for (const id of this.#ids) context.addMeasured(this.#figureOf(figure, id), this.#all(figure, id))
      for (const id of this.#ids) this.#addRatio(context, figure, id)
    }
  }

  #figureOf(figure: FigureOptions, contender: string): FigureOptions {
    const pipes = this.#all(figure, pipe).map(({ value }) => value)
    const target = contender === ours && figure.name.startsWith('p50 ') ? { target: p50TargetMs } : undefined
    const beside = contender === pipe || pipes.length === 0 ? undefined : { pipe: median(pipes) }
    return { ...figure, contender, ...target, ...beside }
  }

  /** Millrace's value divided by the other's of the same run. */
  #addRatio(context: BenchContext, figure: FigureOptions, id: string): void {
    const target = targetOf(figure, id)
    if (target === undefined) return
    const ratios = [...this.#runs(figure, ours)].flatMap(([run, { value }]) => {
      const other = this.#runs(figure, id).get(run)?.value
      return other === undefined ? [] : [{ value: value / other }]
    })
    const name = `${figure.name}, ${ours} : ${id}`
    context.addMeasured({ name, unit: 'times', better: figure.better, target }, ratios)
  }

  #all(figure: FigureOptions, id: string): readonly Measured[] {
    return [...this.#runs(figure, id).values()]
  }

  #runs(figure: FigureOptions, id: string): Map<number, Measured> {
    return this.#measured.get(keyOf(figure, id)) ?? new Map()
  }
}

function targetOf({ name, unit }: FigureOptions, id: string): number | undefined {
  if (unit === 'messages/s') return throughputTargets[id]
  return name.startsWith('p99 ') ? latencyTargets[id] : undefined
}

function keyOf({ name }: FigureOptions, id: string): string {
  return `${id}: ${name}`
}

function workName(work: Work): string {
  const size = sizeName(work.messageBytes)
  if (work.kind === 'latency') return `latency, ${size}, ${work.messagesPerS} messages/s`
  return `${work.kind === 'publish' ? 'publish' : 'end to end'}, ${size}`
}
