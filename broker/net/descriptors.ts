import { readFileSync } from 'node:fs'

/** Open files of three databases, each with up to 74 tables, and of the process itself. */
const reservedMax = 300

/**
 * Returns how many connections leave enough file descriptors for the databases: without descriptors they cannot create
 * files, and
 * all publishes fail. Reserves at most half of a small limit.
 * @param wanted configured number of connections
 * @param descriptorsMax limit of open files of this process; undefined if unknown
 */
export function connectionsAllowed(wanted: number, descriptorsMax: number | undefined): number {
  if (descriptorsMax === undefined) return wanted
  const reserved = Math.min(reservedMax, Math.ceil(descriptorsMax / 2))
  return Math.max(1, Math.min(wanted, descriptorsMax - reserved))
}

/** The soft limit of open files, which Node.js raises to the hard limit at its start; undefined without /proc. */
export function descriptorsMaxOfProcess(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1')
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}
