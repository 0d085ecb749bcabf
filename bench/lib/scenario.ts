import { type PipeOptions, runPipe, runPipeLatency } from '../pipe/pipe.js'
import type { Contender, Durability, Missing } from './contender.js'
import type { LatencyFigures } from './latency.js'
import { median } from './statistics.js'
import type { Interval, Throughput } from './throughput.js'

/** One thing to measure. Adding one: a file in bench/scenarios and a line in its index.ts. */
export interface Scenario {
  /** How the command line calls it. */
  readonly name: string
  /** One line for `--help`. */
  readonly summary: string
  /** False for what takes minutes: it is run only when it is named. */
  readonly byDefault: boolean
  /** Ids of the contenders that take part, for a scenario that compares several: `--contenders` chooses among them. */
  readonly contenders?: readonly string[]
  run(context: BenchContext): Promise<void>
}

/** What a figure is and what it is held against. */
export interface FigureOptions {
  /** "end to end, 100 B" */
  readonly name: string
  /** "messages/s" */
  readonly unit: string
  readonly better: 'higher' | 'lower'
  /** What the project wants to reach, in the same unit. */
  readonly target?: number
  /** The same work through the pipe, in the same unit. */
  readonly pipe?: number
  /** Whose it is: the `id` of a contender. Default: Millrace's. The same work has the same `name` for all of them. */
  readonly contender?: string
}

/** A figure with the values of all its runs. */
export interface Figure extends FigureOptions {
  readonly values: readonly number[]
  /** What else was seen in the last run: "cpu broker" 0.8. */
  readonly details: Readonly<Record<string, number | string>>
  /** Latencies of the last run, where latency is what was measured. */
  readonly latency?: LatencyFigures
  /** What changed during the last run: memory, throughput. */
  readonly series?: readonly Series[]
}

/** A figure, and what measured it. */
export interface RecordedFigure extends Figure {
  /** The `name` of the scenario. */
  readonly scenario: string
}

/** A contender as the reports show it. */
export interface ContenderEntry {
  readonly id: string
  readonly system: string
  readonly durability: Durability
  readonly settings: readonly string[]
  /** Empty when it was skipped. */
  readonly versions: Readonly<Record<string, string>>
  /** Why it took no part; undefined when it did. */
  readonly skipped?: Missing
}

/** Something that could not be measured. */
export interface Failure {
  /** The `name` of the scenario. */
  readonly scenario: string
  /** What was being done: "redis, publish, 100 B"; undefined when the whole scenario ended. */
  readonly what?: string
  readonly error: string
}

/** Something sampled over time. */
export interface Series {
  /** "resident memory of the broker" */
  readonly name: string
  /** "MB" */
  readonly unit: string
  /** Seconds since the beginning of the run, and the value. */
  readonly points: readonly (readonly [seconds: number, value: number])[]
}

/** One run's value, with what else it saw. */
export interface Measured {
  readonly value: number
  readonly details?: Figure['details']
  readonly latency?: LatencyFigures
  readonly series?: readonly Series[]
}

export interface BenchContextOptions {
  /** Shorter intervals and fewer runs: to check that everything works; the figures are not comparable. */
  readonly quick: boolean
  /** How often each figure is measured. */
  readonly runs: number
  /** Folder under which scenarios may make folders; its disk is what is measured. */
  readonly dataRoot: string
  /** Size of the log where that is what is measured, in 10^9 bytes. */
  readonly gigabytes: number
  /** A file whose lines are published where real data matters. Default: lines of generated JSON. */
  readonly sample?: string
  /** Ids of the contenders that take part where several do. Default: all. */
  readonly contenders?: readonly string[]
  readonly onFigure: (figure: RecordedFigure) => void
  readonly onProgress: (line: string) => void
  readonly onContender?: (entry: ContenderEntry) => void
  readonly onFailure?: (failure: Failure) => void
}

/** What is sent, how, and whether it is also received. */
export type PipeShape = Pick<PipeOptions, 'messageBytes' | 'promises' | 'consume'>

/** What a scenario works with. */
export class BenchContext {
  readonly quick: boolean
  readonly runs: number
  readonly dataRoot: string
  readonly gigabytes: number
  /** Ids of the contenders that take part where several do; undefined for all. */
  readonly contenders: readonly string[] | undefined
  /** A file whose lines are published where real data matters; undefined for lines of generated JSON. */
  readonly sample: string | undefined
  /** How long a steady rate is measured. */
  readonly interval: Interval
  /** The same for one of many variants of the same work. */
  readonly shortInterval: Interval
  /** For latencies at low rates: with few messages it takes longer until the code of everyone is compiled. */
  readonly latencyInterval: Interval
  readonly #options: BenchContextOptions
  readonly #pipes = new Map<string, Promise<number>>()
  #scenario = ''

  constructor(options: BenchContextOptions) {
    this.#options = options
    this.quick = options.quick
    this.runs = options.runs
    this.dataRoot = options.dataRoot
    this.gigabytes = options.gigabytes
    this.contenders = options.contenders
    this.sample = options.sample
    this.interval = options.quick
      ? { warmUpMs: 500, measureMs: 1_000 }
      : { warmUpMs: 2_000, measureMs: 5_000 }
    this.shortInterval = options.quick
      ? { warmUpMs: 200, measureMs: 300 }
      : { warmUpMs: 1_000, measureMs: 2_500 }
    this.latencyInterval = options.quick
      ? { warmUpMs: 500, measureMs: 1_000 }
      : { warmUpMs: 4_000, measureMs: 4_000 }
  }

  /** Runs a scenario; when it fails, that is recorded and what it has measured so far is kept. */
  async run(scenario: Scenario): Promise<void> {
    this.#scenario = scenario.name
    try {
      await scenario.run(this)
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Measures a figure `runs` times, adds it to the result and returns the median. */
  measure(figure: FigureOptions, run: () => Promise<Measured>): Promise<number> {
    return this.#measure(figure, run, this.#scenario)
  }

  /**
   * Enters a contender into the reports.
   * @returns false when something keeps it from running here: the reports then show it as skipped
   */
  async contender(contender: Contender): Promise<boolean> {
    const { id, system, durability, settings } = contender
    const skipped = await contender.missing()
    const versions = skipped === undefined ? await contender.versions() : {}
    const entry = { id, system, durability, settings, versions }
    this.#options.onContender?.(skipped === undefined ? entry : { ...entry, skipped })
    return skipped === undefined
  }

  /** Tells the person who waits. */
  progress(line: string): void {
    this.#options.onProgress(line)
  }

  /** Adds a figure that was measured in another way. */
  add(figure: Figure): void {
    this.#record({ ...figure, scenario: this.#scenario })
  }

  /** Adds a figure from all its runs, for who alternates runs of several figures. Nothing is added when there are none. */
  addMeasured(figure: FigureOptions, measured: readonly Measured[]): void {
    if (measured.length > 0) this.add(figureOf(figure, measured))
  }

  /**
   * Records that a part of the scenario failed, for a scenario that continues with the other parts.
   * @param what like "redis, publish, 100 B"
   */
  failed(what: string, error: unknown): void {
    this.#fail(error, what)
  }

  /** Messages/s of the pipe for the same work; measured at the first call, once for all scenarios. */
  pipe(shape: PipeShape): Promise<number> {
    const figure = { name: `pipe, ${shapeName(shape)}`, unit: 'messages/s', better: 'higher' } as const
    return this.#measureOnce(figure, async () => {
      const throughput = await runPipe({ ...shape, ...this.interval, dataRoot: this.dataRoot })
      const { messagesPerS, series = [] } = throughput
      return { value: messagesPerS, details: throughputDetails(throughput), series }
    })
  }

  /** p99 latency of the pipe in ms at a fixed rate; measured at the first call, once for all scenarios. */
  pipeLatency(shape: { readonly messageBytes: number; readonly messagesPerS: number }): Promise<number> {
    const name = `pipe, p99 latency, ${sizeName(shape.messageBytes)}, ${shape.messagesPerS} messages/s`
    return this.#measureOnce({ name, unit: 'ms', better: 'lower' }, async () => {
      const latency = await runPipeLatency({ ...shape, ...this.interval, dataRoot: this.dataRoot })
      return { value: latency.p99Ms, details: latencyDetails(latency), latency }
    })
  }

  #measureOnce(figure: FigureOptions, run: () => Promise<Measured>): Promise<number> {
    const known = this.#pipes.get(figure.name)
    if (known !== undefined) return known
    const measured = this.#measure(figure, run, 'pipe')
    this.#pipes.set(figure.name, measured)
    return measured
  }

  async #measure(figure: FigureOptions, run: () => Promise<Measured>, scenario: string): Promise<number> {
    const measured: Measured[] = []
    for (let i = 1; i <= this.runs; i++) {
      this.progress(`${figure.name}: run ${i} of ${this.runs}`)
      measured.push(await run())
    }
    const recorded = figureOf(figure, measured)
    this.#record({ ...recorded, scenario })
    return median(recorded.values)
  }

  /** What is no number is no figure: it can't be compared, nor written as JSON. */
  #record(figure: RecordedFigure): void {
    const bad = figure.values.find((value) => !Number.isFinite(value))
    if (figure.values.length > 0 && bad === undefined)
      this.#options.onFigure({ ...figure, details: finiteDetails(figure.details) })
    else this.failed(figure.name, `measured ${bad ?? 'nothing'}`)
  }

  #fail(error: unknown, what?: string): void {
    const text = error instanceof Error ? error.message : String(error)
    const failure = { scenario: this.#scenario, error: text }
    this.#options.onFailure?.(what === undefined ? failure : { ...failure, what })
  }
}

/** A figure from its runs, of which there must be one; details, latencies and series are those of the last. */
function figureOf(figure: FigureOptions, measured: readonly Measured[]): Figure {
  const { details = {}, latency, series } = measured.at(-1) as Measured
  return {
    ...figure,
    values: measured.map(({ value }) => value),
    details,
    ...(latency === undefined ? {} : { latency }),
    ...(series === undefined ? {} : { series }),
  }
}

/** Without what a division by nothing gave: JSON has no such numbers. */
function finiteDetails(details: Figure['details']): Figure['details'] {
  const kept = Object.entries(details).filter(
    ([, value]) => typeof value === 'string' || Number.isFinite(value),
  )
  return Object.fromEntries(kept)
}

/** Describes latencies for the column of details. */
export function latencyDetails({ count, p50Ms, p999Ms, maxMs }: LatencyFigures): Figure['details'] {
  return { messages: count, 'p50 ms': p50Ms, 'p99.9 ms': p999Ms, 'longest ms': maxMs }
}

/** Describes a throughput for the column of details. */
export function throughputDetails({ messagesPerS, mbPerS, cpu, rssBytes }: Throughput): Figure['details'] {
  const details: Record<string, number | string> = { 'MB/s': mbPerS }
  const cpuAll = Object.values(cpu).reduce((sum, share) => sum + share, 0)
  if (messagesPerS > 0) details['cpu us per message'] = (cpuAll * 1e6) / messagesPerS
  for (const [name, share] of Object.entries(cpu)) details[`cpu ${name}`] = share
  for (const [name, bytes] of Object.entries(rssBytes)) details[`MB of memory ${name}`] = bytes / 1e6
  return details
}

/** Names a shape of work the same way for the pipe and for what is held against it. */
export function shapeName({ messageBytes, promises, consume }: PipeShape): string {
  const kind = consume ? 'end to end' : 'publish'
  return `${kind}, ${sizeName(messageBytes)}${promises ? ', one promise per message' : ''}`
}

/** 100 B, 1 KiB, 1 MiB. */
export function sizeName(bytes: number): string {
  if (bytes % 2 ** 20 === 0) return `${bytes / 2 ** 20} MiB`
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`
}
