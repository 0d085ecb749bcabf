import { MillraceError } from '../protocol/index.js'

const timeUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}
const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
}

/** A time as ms, or as text: 500ms, 30s, 15m, 12h, 7d, 2w; for retention also "forever". */
export type Duration = number | string
/** A size as bytes, or as text: 100KB, 1.5GB (powers of 1000), 64MiB (of 1024); "unlimited" for no limit. */
export type Size = number | string

const durationForm = 'a time like 500ms, 30s, 15m, 12h, 7d, 2w'

/** ms of a duration. @throws MillraceError BAD_OPTION, also for "forever" */
export function durationMs(name: string, value: Duration): number {
  return measure(name, value, timeUnits, undefined, durationForm)
}

/** ms of a duration, -1 for "forever". @throws MillraceError BAD_OPTION */
export function durationOrForeverMs(name: string, value: Duration): number {
  return measure(name, value, timeUnits, 'forever', `${durationForm}, or "forever"`)
}

/** Bytes of a size, -1 for "unlimited". @throws MillraceError BAD_OPTION */
export function sizeBytes(name: string, value: Size): number {
  return measure(name, value, sizeUnits, 'unlimited', 'a size like 500KB, 10GB, 64MiB, or "unlimited"')
}

function measure(
  name: string,
  value: number | string,
  units: Readonly<Record<string, number>>,
  unbounded: string | undefined,
  expected: string,
): number {
  if (unbounded !== undefined && (value === unbounded || value === -1)) return -1
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  const match = typeof value === 'string' ? /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(value.trim()) : null
  const factor = units[match?.[2]?.toLowerCase() ?? '?']
  const result = Math.round(Number(match?.[1]) * (factor ?? Number.NaN))
  if (Number.isSafeInteger(result)) return result
  throw new MillraceError(
    'BAD_OPTION',
    `the option "${name}" is ${JSON.stringify(value)}, expected ${expected}`,
  )
}
