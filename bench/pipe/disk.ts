import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'

/** The speed of the disk without a database. */
export interface DiskFigures {
  /** Sequential writes of 1 MiB, one fdatasync at the end. */
  readonly writeMbPerS: number
  /** A 4 KiB append and its fdatasync. */
  readonly fdatasyncMedianMs: number
  readonly fdatasyncP99Ms: number
  /** Appends of 256 KiB, each with its fdatasync, as in a group commit. */
  readonly syncedMbPerS: number
}

const mebibyte = 1024 * 1024

/** Measures the disk under `dataRoot` with a file of at most `fileBytesMax`, and removes the file. */
export async function measureDisk(dataRoot: string, fileBytesMax: number): Promise<DiskFigures> {
  const path = join(dataRoot, `disk-${process.pid}`)
  const file = await open(path, 'w')
  try {
    const chunk = Buffer.alloc(mebibyte, 0x5a)
    const start = performance.now()
    for (let written = 0; written < fileBytesMax; written += chunk.length) await file.write(chunk)
    await file.datasync()
    const writeMbPerS = fileBytesMax / 1000 / (performance.now() - start)

    const small = await timeAppends(file, chunk.subarray(0, 4096), 300)
    const large = await timeAppends(file, chunk.subarray(0, 256 * 1024), 200)
    const largeMs = large.reduce((sum, ms) => sum + ms, 0)
    return {
      writeMbPerS,
      fdatasyncMedianMs: small[Math.floor(small.length * 0.5)] ?? 0,
      fdatasyncP99Ms: small[Math.floor(small.length * 0.99)] ?? 0,
      syncedMbPerS: (large.length * 256 * 1024) / 1000 / largeMs,
    }
  } finally {
    await file.close()
    await rm(path, { force: true })
  }
}

/** Milliseconds of every append, ascending. */
async function timeAppends(
  file: Awaited<ReturnType<typeof open>>,
  chunk: Buffer,
  times: number,
): Promise<number[]> {
  const durationsMs: number[] = []
  for (let i = 0; i < times; i++) {
    const start = performance.now()
    await file.write(chunk)
    await file.datasync()
    durationsMs.push(performance.now() - start)
  }
  return durationsMs.sort((a, b) => a - b)
}
