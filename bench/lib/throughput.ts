import { setTimeout as sleep } from 'node:timers/promises'
import { withMemoryWatch } from './memory_watch.js'
import type { Series } from './scenario.js'
import type { Sample, Worker } from './worker.js'

/** A steady rate, measured over an interval in the middle of the work. */
export interface Throughput {
  readonly messagesPerS: number
  /** Of message values, in millions of bytes. */
  readonly mbPerS: number
  /** Share of one processor that each worker used, by its name; the sum for those of one name. */
  readonly cpu: Readonly<Record<string, number>>
  /** Resident memory at the end, by the worker's name; the sum for workers of one name. */
  readonly rssBytes: Readonly<Record<string, number>>
  /** The broker's memory from the beginning of the warm-up, if a worker has this name. */
  readonly series?: readonly Series[]
  /** Bytes that the server wrote to the disk, if measured. */
  readonly writtenBytesPerS?: number
}

export interface Interval {
  readonly warmUpMs: number
  readonly measureMs: number
}

/** Lets the workers run, and measures the rate of the first one, or of several, after the warm-up. */
export async function measureThroughput(
  counting: Worker | readonly Worker[],
  others: readonly Worker[],
  interval: Interval,
): Promise<Throughput> {
  const counters = [counting].flat() as readonly Worker[]
  const workers = [...counters, ...others]
  const broker = workers.find(({ name }) => name.endsWith('broker'))
  const measure = (): Promise<Throughput> => measureInterval(workers, counters.length, interval)
  if (broker === undefined) return measure()
  const { result, series } = await withMemoryWatch(broker, 'broker', measure)
  return { ...result, series: [series] }
}

/** @param counters number of workers, from the first, that count */
async function measureInterval(
  workers: readonly Worker[],
  counters: number,
  { warmUpMs, measureMs }: Interval,
): Promise<Throughput> {
  await sleep(warmUpMs)
  const before = await Promise.all(workers.map((worker) => worker.sample()))
  await sleep(measureMs)
  const after = await Promise.all(workers.map((worker) => worker.sample()))
  const changes = workers.map(({ name }, i) => changeOf(name, before[i] as Sample, after[i] as Sample))
  const counted = changes.slice(0, counters)
  return {
    messagesPerS: sum(counted.map(({ messagesPerS }) => messagesPerS)),
    mbPerS: sum(counted.map(({ mbPerS }) => mbPerS)),
    cpu: sumByName(changes.map(({ name, cpu }) => [name, cpu])),
    rssBytes: sumByName(changes.map(({ name, rssBytes }) => [name, rssBytes])),
  }
}

interface Change {
  readonly name: string
  readonly messagesPerS: number
  readonly mbPerS: number
  readonly cpu: number
  readonly rssBytes: number
}

/** Each by its own clock, because samples of several workers are not simultaneous. */
function changeOf(name: string, before: Sample, after: Sample): Change {
  const seconds = (after.timeMs - before.timeMs) / 1000
  return {
    name,
    messagesPerS: (after.messages - before.messages) / seconds,
    mbPerS: (after.bytes - before.bytes) / seconds / 1e6,
    cpu: (after.cpuMs - before.cpuMs) / 1000 / seconds,
    rssBytes: after.rssBytes,
  }
}

function sumByName(values: readonly (readonly [name: string, value: number])[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const [name, value] of values) sums[name] = (sums[name] ?? 0) + value
  return sums
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
