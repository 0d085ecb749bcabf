const timeUnits: readonly (readonly [ms: number, one: string, many: string])[] = [
  [86_400_000, 'day', 'days'],
  [3_600_000, 'h', 'h'],
  [60_000, 'min', 'min'],
]
const sizeUnits: readonly (readonly [bytes: number, name: string])[] = [
  [2 ** 40, 'TiB'],
  [1e12, 'TB'],
  [2 ** 30, 'GiB'],
  [1e9, 'GB'],
  [2 ** 20, 'MiB'],
  [1e6, 'MB'],
  [2 ** 10, 'KiB'],
  [1e3, 'kB'],
]

/**
 * A time for an error message: "366 days", "1 h 30 min", "2.5 s", "500 ms". It is exact to the millisecond, so that a value
 * and a limit that differ have different texts.
 * @param ms fractions are rounded
 */
export function durationText(ms: number): string {
  if (!Number.isFinite(ms)) return `${ms} ms`
  if (ms < 0) return `-${durationText(-ms)}`
  const parts: string[] = []
  let rest = Math.round(ms)
  for (const [unitMs, one, many] of timeUnits) {
    const count = Math.floor(rest / unitMs)
    rest -= count * unitMs
    if (count > 0) parts.push(`${count} ${count === 1 ? one : many}`)
  }
  if (rest >= 1_000) parts.push(`${rest / 1_000} s`)
  else if (rest > 0 || parts.length === 0) parts.push(`${rest} ms`)
  return parts.join(' ')
}

/**
 * A size for an error message: "4 MiB", "10 GB", "200 bytes". A size that is no round number of a unit has its bytes and the
 * unit: "4,194,400 bytes (4.00 MiB)".
 */
export function bytesText(bytes: number): string {
  if (!Number.isFinite(bytes)) return `${bytes} bytes`
  if (bytes < 0) return `-${bytesText(-bytes)}`
  if (bytes === 1) return '1 byte'
  for (const [unitBytes, name] of sizeUnits)
    if (bytes >= unitBytes && bytes % unitBytes === 0) return `${grouped(bytes / unitBytes)} ${name}`
  const exact = `${grouped(bytes)} bytes`
  for (const [unitBytes, name] of sizeUnits)
    if (name.endsWith('iB') && bytes >= unitBytes)
      return `${exact} (${(bytes / unitBytes).toFixed(2)} ${name})`
  return exact
}

/** A point in time for an error message: "2026-01-31T12:00:00.000Z". @param ms since 1970 */
export function timeText(ms: number): string {
  const time = new Date(ms)
  return Number.isNaN(time.getTime()) ? `${ms} ms since 1970` : time.toISOString()
}

/**
 * A limit of a number that its reader gives as a number: "1000 (1 s)", "4194304 (4 MiB)", "10".
 * @param name of the field or option: its unit is part of it, as in `leaseMs` and `batchBytesMax`
 */
export function limitText(name: string, limit: number): string {
  if (Math.abs(limit) < 1_000 || Math.abs(limit) === Number.MAX_SAFE_INTEGER) return String(limit)
  if (/Ms(Max|Min)?$/.test(name) && !/AtMs$/.test(name)) return `${limit} (${durationText(limit)})`
  if (/[bB]ytes(Max|Min)?$/.test(name)) return `${limit} (${bytesText(limit)})`
  return String(limit)
}

function grouped(count: number): string {
  return count.toLocaleString('en')
}
