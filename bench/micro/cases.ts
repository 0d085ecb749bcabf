import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describeMachine, machineLine } from '../lib/machine.js'
import { drawTable, shown } from '../lib/table.js'

/** A small operation for repeated measurement in one process. */
export interface MicroCase {
  /** "records of 100 B, encoding" */
  readonly name: string
  /** "records/s" */
  readonly unit: string
  /** Operations in one call: a call should take some microseconds at least. */
  readonly perCall: number
  readonly work: () => unknown
}

const defaultMs = 300

/** Repeats it for a while, after a third of that time as warm-up; returns operations per second. */
export async function measureCase({ perCall, work }: MicroCase, measureMs = defaultMs): Promise<number> {
  await repeat(work, measureMs / 3)
  const { calls, ms } = await repeat(work, measureMs)
  return (calls * perCall * 1000) / ms
}

/** Awaits only promises: not every call has to wait for a turn of the event loop. */
async function repeat(work: () => unknown, atLeastMs: number): Promise<{ calls: number; ms: number }> {
  const startedMs = performance.now()
  for (let calls = 1; ; calls++) {
    const result = work()
    if (result instanceof Promise) await result
    const ms = performance.now() - startedMs
    if (ms >= atLeastMs) return { calls, ms }
  }
}

/** Whether the file of this address is the started program, and not a part of another one. */
export function isProgram(fileUrl: string): boolean {
  const program = process.argv[1]
  return program !== undefined && realpathSync(program) === fileURLToPath(fileUrl)
}

/** Measures cases and prints them as a table, if the file of this address is the started program. */
export async function mainOfCases(
  fileUrl: string,
  use: (measure: (cases: readonly MicroCase[]) => Promise<void>) => Promise<void>,
): Promise<void> {
  if (!isProgram(fileUrl)) return
  const rows: string[][] = []
  await use(async (cases) => {
    for (const one of cases) rows.push([one.name, shown(await measureCase(one)), one.unit])
  })
  const columns = [
    { name: 'what', align: 'left' },
    { name: 'speed', align: 'right' },
    { name: 'unit', align: 'left' },
  ] as const
  console.log(`${machineLine(describeMachine())}\n\n${drawTable({ columns, rows })}`)
}
