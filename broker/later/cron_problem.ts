/** A field of a cron pattern: its name, the values that it takes, and examples of ranges and steps of them. */
interface Field {
  readonly name: string
  readonly values: string
  readonly range: string
  readonly step: string
}

const fields: readonly Field[] = [
  { name: 'second', values: '0 to 59', range: '0-30', step: '*/10' },
  { name: 'minute', values: '0 to 59', range: '0-30', step: '*/5' },
  { name: 'hour', values: '0 to 23', range: '9-17', step: '*/2' },
  { name: 'day of the month', values: '1 to 31, L (the last day)', range: '1-15', step: '*/2' },
  { name: 'month', values: '1 to 12, JAN to DEC', range: 'APR-SEP', step: '*/3' },
  {
    name: 'day of the week',
    values: '0 to 7 (0 and 7 are Sunday), SUN to SAT, MON#2 (the second Monday)',
    range: 'MON-FRI',
    step: '*/2',
  },
]

const expectedFields =
  'expected five (minute, hour, day of the month, month, day of the week), or six with the second first'

/**
 * Describes the problem of a cron pattern: the field, its value, and the allowed values.
 * @param isAllowed whether a pattern can be read
 */
export function cronProblem(pattern: string, isAllowed: (pattern: string) => boolean): string {
  const parts = pattern.trim().split(/\s+/).filter(Boolean)
  if (parts.length !== 5 && parts.length !== 6) {
    const count = `${parts.length} ${parts.length === 1 ? 'field' : 'fields'}`
    return `it has ${count}, ${expectedFields}`
  }
  const own = fields.slice(fields.length - parts.length)
  for (const [index, field] of own.entries()) {
    const part = parts[index] as string
    const alone = (text: string): string => own.map((_, at) => (at === index ? text : '*')).join(' ')
    if (isAllowed(alone(part))) continue
    const wrong = part.split(',').find((item) => item === '' || !isAllowed(alone(item))) ?? part
    const where = wrong === part ? '' : ` in "${part}"`
    return `the ${field.name} is "${wrong}"${where}, expected ${field.values}, *, a list like ${listOf(field)}, a range like ${field.range} or a step like ${field.step}`
  }
  return `its fields do not fit together, ${expectedFields}`
}

function listOf({ range }: Field): string {
  return range.replace('-', ',')
}
