import type { BenchContext, Scenario } from '../lib/scenario.js'
import { median } from '../lib/statistics.js'
import { type DiskFigures, measureDisk } from '../pipe/disk.js'

const mebibyte = 1024 * 1024

/** The disk in isolation: the upper limit for every broker on it. */
export const diskScenario: Scenario = {
  name: 'disk',
  summary: 'raw sequential writes and fdatasync latency',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const runs: DiskFigures[] = []
    const fileBytesMax = (context.quick ? 128 : 1024) * mebibyte
    for (let i = 0; i < context.runs; i++) runs.push(await measureDisk(context.dataRoot, fileBytesMax))
    const values = (name: keyof DiskFigures): number[] => runs.map((run) => run[name])
    const add = (name: string, key: keyof DiskFigures, unit: string, better: 'higher' | 'lower'): void =>
      context.add({ name: `disk, ${name}`, unit, better, values: values(key), details: {} })
    add('sequential write', 'writeMbPerS', 'MB/s', 'higher')
    add('256 KiB appends, each with fdatasync', 'syncedMbPerS', 'MB/s', 'higher')
    context.add({
      name: 'disk, 4 KiB append with fdatasync',
      unit: 'ms',
      better: 'lower',
      values: values('fdatasyncMedianMs'),
      details: { 'p99 ms': median(values('fdatasyncP99Ms')) },
    })
  },
}
