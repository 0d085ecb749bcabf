import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** What processes have used since they began; zeros where the system has no /proc. */
export interface ProcessUsage {
  readonly cpuMs: number
  /** Resident now. */
  readonly rssBytes: number
  /** Given to the disk or to be given: the system counts a page when it becomes dirty. */
  readonly writtenBytes: number
}

const pageBytes = 4096
/** Fields of /proc/PID/stat behind the name of the program, from 0: see proc(5). */
const statFields = { parent: 1, userTicks: 11, systemTicks: 12, residentPages: 21 } as const

let ticksPerS: number | undefined

/** The process and all that descend from it; only the process itself where the system has no /proc. */
export function processTree(root: number): readonly number[] {
  const children = new Map<number, number[]>()
  for (const pid of allProcesses()) {
    const parent = Number(readStat(pid)?.[statFields.parent])
    children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const tree = [root]
  for (const pid of tree) tree.push(...(children.get(pid) ?? []))
  return tree
}

/** The sum over the processes; those that are gone count nothing. */
export function usageOf(pids: readonly number[]): ProcessUsage {
  let [cpuMs, rssBytes, writtenBytes] = [0, 0, 0]
  for (const pid of pids) {
    const stat = readStat(pid)
    if (stat === undefined) continue
    const ticks = Number(stat[statFields.userTicks]) + Number(stat[statFields.systemTicks])
    cpuMs += (ticks * 1000) / clockTicksPerS()
    rssBytes += Number(stat[statFields.residentPages]) * pageBytes
    writtenBytes += Number(/^write_bytes: (\d+)$/m.exec(readProc(pid, 'io') ?? '')?.[1] ?? 0)
  }
  return { cpuMs, rssBytes, writtenBytes }
}

function allProcesses(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

/** Fields behind the name, which may hold spaces and brackets itself; undefined when the process is gone. */
function readStat(pid: number): readonly string[] | undefined {
  const stat = readProc(pid, 'stat')
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return undefined
  }
}

function clockTicksPerS(): number {
  ticksPerS ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
  return ticksPerS
}
