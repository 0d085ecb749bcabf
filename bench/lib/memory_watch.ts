import { setTimeout as sleep } from 'node:timers/promises'
import type { Series } from './scenario.js'
import { monotonicMs, type Worker } from './worker.js'

const sampleEveryMs = 200

type Point = readonly [seconds: number, megabytes: number]

/** Samples the resident memory of a worker until it is stopped. */
export class MemoryWatch {
  readonly #worker: () => Worker
  readonly #name: string
  readonly #everyMs: number
  readonly #startedMs = monotonicMs()
  readonly #resident: Point[] = []
  readonly #own: Point[] = []
  readonly #stopped = new AbortController()
  readonly #finished: Promise<void>

  /**
   * @param worker called at every sample, because the worker may be replaced
   * @param name its name in the series: "broker"
   */
  constructor(worker: () => Worker, name: string, everyMs = sampleEveryMs) {
    this.#worker = worker
    this.#name = name
    this.#everyMs = everyMs
    this.#finished = this.#run()
  }

  /** Ends the sampling; resident memory over time, in MB. */
  async stop(): Promise<Series> {
    this.#stopped.abort()
    await this.#finished
    return { name: `resident memory of the ${this.#name}`, unit: 'MB', points: this.#resident }
  }

  /** The largest values so far, in MB: in total, and without pages of files. */
  most(): { readonly resident: number; readonly own: number } {
    const largest = (points: readonly Point[]): number =>
      points.reduce((most, [, megabytes]) => Math.max(most, megabytes), 0)
    return { resident: largest(this.#resident), own: largest(this.#own) }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped
    while (!signal.aborted) {
      await this.#sample()
      await sleep(this.#everyMs, undefined, { signal }).catch(() => {})
    }
  }

  async #sample(): Promise<void> {
    // A worker that was killed is about to be replaced.
    const sample = await this.#worker()
      .sample()
      .catch(() => undefined)
    if (sample === undefined) return
    const seconds = (sample.timeMs - this.#startedMs) / 1000
    this.#resident.push([seconds, sample.rssBytes / 1e6])
    this.#own.push([seconds, (sample.rssBytes - sample.rssFileBytes) / 1e6])
  }
}

/** Watches a worker during `work`. */
export async function withMemoryWatch<T>(
  worker: Worker,
  name: string,
  use: () => Promise<T>,
): Promise<{ readonly result: T; readonly series: Series }> {
  const watch = new MemoryWatch(() => worker, name)
  try {
    const result = await use()
    return { result, series: await watch.stop() }
  } finally {
    await watch.stop()
  }
}
