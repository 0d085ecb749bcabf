import { setTimeout as sleep } from 'node:timers/promises'
import type { Sample, Worker } from './worker.js'

/** A steady rate, measured over an interval in the middle of the work. */
export interface Throughput {
  readonly messagesPerS: number
  /** Of message values, in millions of bytes. */
  readonly mbPerS: number
  /** Share of one processor that each worker used, by its name. */
  readonly cpu: Readonly<Record<string, number>>
  /** Resident memory at the end, by the worker's name. */
  readonly rssBytes: Readonly<Record<string, number>>
}

export interface Interval {
  readonly warmUpMs: number
  readonly measureMs: number
}

/** Lets the workers run, and measures how fast the first one counts after the warm-up. */
export async function measureThroughput(
  counting: Worker,
  others: readonly Worker[],
  { warmUpMs, measureMs }: Interval,
): Promise<Throughput> {
  const workers = [counting, ...others]
  await sleep(warmUpMs)
  const before = await Promise.all(workers.map((worker) => worker.sample()))
  await sleep(measureMs)
  const after = await Promise.all(workers.map((worker) => worker.sample()))
  const [first, last] = [before[0] as Sample, after[0] as Sample]
  const seconds = (last.timeMs - first.timeMs) / 1000
  const cpu = workers.map((worker, i) => {
    const [from, to] = [before[i] as Sample, after[i] as Sample]
    return [worker.name, (to.cpuMs - from.cpuMs) / (to.timeMs - from.timeMs)] as const
  })
  return {
    messagesPerS: (last.messages - first.messages) / seconds,
    mbPerS: (last.bytes - first.bytes) / seconds / 1e6,
    cpu: Object.fromEntries(cpu),
    rssBytes: Object.fromEntries(workers.map((worker, i) => [worker.name, after[i]?.rssBytes ?? 0])),
  }
}
