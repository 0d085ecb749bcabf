import { readFileSync } from 'node:fs'

/** Open files of three databases, each with up to 74 tables, and of the process itself. */
const reservedMax = 300

/**
 * How many connections leave enough file descriptors for the databases: without any, these can't begin new files, and
 * nothing is published. At most half of a small limit is reserved.
 * @param wanted most connections if files were no matter
 * @param descriptorsMax open files that this process may have; undefined when that is not known
 */
export function connectionsAllowed(wanted: number, descriptorsMax: number | undefined): number {
  if (descriptorsMax === undefined) return wanted
  const reserved = Math.min(reservedMax, Math.ceil(descriptorsMax / 2))
  return Math.max(1, Math.min(wanted, descriptorsMax - reserved))
}

/** The soft limit on open files, which Node.js raises to the hard one when it starts; undefined where /proc doesn't tell. */
export function descriptorsMaxOfProcess(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1')
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}
