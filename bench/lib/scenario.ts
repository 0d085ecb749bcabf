import { type PipeOptions, runPipe, runPipeLatency } from '../pipe/pipe.js'
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
  /** Whose it is: the `id` of a contender. Default: Millrace's. */
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
  /** Shorter intervals and fewer runs: to see that everything works, not to compare. */
  readonly quick: boolean
  /** How often each figure is measured. */
  readonly runs: number
  /** Folder under which scenarios may make folders; its disk is what is measured. */
  readonly dataRoot: string
  /** Size of the log where that is what is measured, in 10^9 bytes. */
  readonly gigabytes: number
  readonly onFigure: (figure: Figure) => void
  readonly onProgress: (line: string) => void
}

/** What is sent, how, and whether it is also received. */
export type PipeShape = Pick<PipeOptions, 'messageBytes' | 'promises' | 'consume'>

/** What a scenario works with. */
export class BenchContext {
  readonly quick: boolean
  readonly runs: number
  readonly dataRoot: string
  readonly gigabytes: number
  /** How long a steady rate is measured. */
  readonly interval: Interval
  readonly #options: BenchContextOptions
  readonly #pipes = new Map<string, Promise<number>>()

  constructor(options: BenchContextOptions) {
    this.#options = options
    this.quick = options.quick
    this.runs = options.runs
    this.dataRoot = options.dataRoot
    this.gigabytes = options.gigabytes
    this.interval = options.quick
      ? { warmUpMs: 500, measureMs: 1_000 }
      : { warmUpMs: 2_000, measureMs: 5_000 }
  }

  /** Measures a figure `runs` times, adds it to the result and returns the median. */
  async measure(figure: FigureOptions, run: () => Promise<Measured>): Promise<number> {
    const measured: Measured[] = []
    for (let i = 1; i <= this.runs; i++) {
      this.#options.onProgress(`${figure.name}: run ${i} of ${this.runs}`)
      measured.push(await run())
    }
    const values = measured.map(({ value }) => value)
    const { details = {}, latency, series } = measured.at(-1) as Measured
    this.add({
      ...figure,
      values,
      details,
      ...(latency === undefined ? {} : { latency }),
      ...(series === undefined ? {} : { series }),
    })
    return median(values)
  }

  /** Tells the person who waits. */
  progress(line: string): void {
    this.#options.onProgress(line)
  }

  /** Adds a figure that was measured in another way. */
  add(figure: Figure): void {
    this.#options.onFigure(figure)
  }

  /** Messages/s of the pipe for the same work; measured at the first call, once for all scenarios. */
  pipe(shape: PipeShape): Promise<number> {
    const figure = { name: `pipe, ${shapeName(shape)}`, unit: 'messages/s', better: 'higher' } as const
    return this.#measureOnce(figure, async () => {
      const throughput = await runPipe({ ...shape, ...this.interval, dataRoot: this.dataRoot })
      return { value: throughput.messagesPerS, details: throughputDetails(throughput) }
    })
  }

  /** p99 latency of the pipe in ms at a fixed rate; measured at the first call, once for all scenarios. */
  pipeLatency(shape: { readonly messageBytes: number; readonly messagesPerS: number }): Promise<number> {
    const name = `pipe, p99 latency, ${sizeName(shape.messageBytes)}, ${shape.messagesPerS} messages/s`
    return this.#measureOnce({ name, unit: 'ms', better: 'lower' }, async () => {
      const latency = await runPipeLatency({ ...shape, ...this.interval, dataRoot: this.dataRoot })
      return { value: latency.p99Ms, details: latencyDetails(latency) }
    })
  }

  #measureOnce(figure: FigureOptions, run: () => Promise<Measured>): Promise<number> {
    const known = this.#pipes.get(figure.name)
    if (known !== undefined) return known
    const measured = this.measure(figure, run)
    this.#pipes.set(figure.name, measured)
    return measured
  }
}

/** Describes latencies for the column of details. */
export function latencyDetails({ count, p50Ms, p999Ms, maxMs }: LatencyFigures): Figure['details'] {
  return { messages: count, 'p50 ms': p50Ms, 'p99.9 ms': p999Ms, 'longest ms': maxMs }
}

/** Describes a throughput for the column of details. */
export function throughputDetails({ mbPerS, cpu, rssBytes }: Throughput): Figure['details'] {
  const details: Record<string, number | string> = { 'MB/s': mbPerS }
  for (const [name, share] of Object.entries(cpu)) details[`cpu ${name}`] = share
  for (const [name, bytes] of Object.entries(rssBytes)) details[`MB of memory ${name}`] = bytes / 1e6
  return details
}

/** Names a shape of work the same way for the pipe and for what is held against it. */
export function shapeName({ messageBytes, promises, consume }: PipeShape): string {
  const kind = consume ? 'end to end' : 'publish'
  return `${kind}, ${sizeName(messageBytes)}${promises ? ', one promise per message' : ''}`
}

/** 100 B, 1 KiB. */
export function sizeName(bytes: number): string {
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`
}
