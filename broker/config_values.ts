import { bytesText, durationText, MillraceError } from '../protocol/index.js'

/** One setting: its parser, its default and its meaning. */
export interface Setting<T> {
  readonly default: T
  readonly description: string
  /** The form of a value, for messages and help. */
  readonly expected: string
  /** Returns the value, or undefined if it is not valid. Flags and the environment give text. */
  parse(value: unknown): T | undefined
}

const byteUnits: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
}
const timeUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

export interface Bounds {
  readonly min?: number
  readonly max?: number
  /** Accept -1 too, for "no limit". */
  readonly unbounded?: boolean
}

export function text(fallback: string, description: string): Setting<string> {
  return {
    default: fallback,
    description,
    expected: 'text',
    parse: (value) => (typeof value === 'string' && value !== '' ? value : undefined),
  }
}

export function oneOf<const T extends readonly string[]>(
  values: T,
  fallback: T[number],
  description: string,
): Setting<T[number]> {
  return {
    default: fallback,
    description,
    expected: `one of ${values.join(', ')}`,
    parse: (value) => values.find((known) => known === value),
  }
}

export function integer(fallback: number, description: string, bounds: Bounds = {}): Setting<number> {
  return numeric(fallback, description, bounds, 'a whole number', {}, String)
}

/** Bytes as a number or as text with a unit: 500000, "64MiB", "10GB". */
export function bytes(fallback: number, description: string, bounds: Bounds = {}): Setting<number> {
  return numeric(fallback, description, bounds, 'bytes as a number or like "64MiB"', byteUnits, bytesText)
}

/** Milliseconds as a number, or text with a unit: 500, "10s", "7d". */
export function duration(fallback: number, description: string, bounds: Bounds = {}): Setting<number> {
  return numeric(
    fallback,
    description,
    bounds,
    'milliseconds as a number or a time like "10s"',
    timeUnits,
    durationText,
  )
}

function numeric(
  fallback: number,
  description: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER, unbounded = false }: Bounds,
  what: string,
  units: Readonly<Record<string, number>>,
  shown: (value: number) => string,
): Setting<number> {
  const range =
    max === Number.MAX_SAFE_INTEGER ? `at least ${shown(min)}` : `from ${shown(min)} to ${shown(max)}`
  return {
    default: fallback,
    description,
    expected: `${what}, ${range}${unbounded ? ', or -1 for no limit' : ''}`,
    parse(value) {
      const number = toNumber(value, units)
      if (number === undefined || !Number.isSafeInteger(number)) return undefined
      if (unbounded && number === -1) return number
      return number >= min && number <= max ? number : undefined
    },
  }
}

function toNumber(value: unknown, units: Readonly<Record<string, number>>): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value !== 'string') return undefined
  const match = /^\s*(-?\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(value)
  if (match === null) return undefined
  const unit = (match[2] as string).toLowerCase()
  const scale = unit === '' ? 1 : units[unit]
  return scale === undefined ? undefined : Math.round(Number(match[1]) * scale)
}

/** @throws MillraceError BAD_CONFIG that names the setting, the expected form and the actual value. */
export function parseSetting<T>(setting: Setting<T>, value: unknown, name: string): T {
  const parsed = setting.parse(value)
  if (parsed !== undefined) return parsed
  const shown = typeof value === 'string' ? JSON.stringify(value) : describe(value)
  throw new MillraceError('BAD_CONFIG', `${name}: expected ${setting.expected}, got ${shown}`)
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'a map' : String(value)
}
