/** Checks one value; `path` names it in errors: "figures[3].unit". */
export type Check = (value: unknown, path: string) => void

/** A file with invalid content. */
export class ReportError extends Error {
  override readonly name = 'ReportError'
}

const shownMax = 40

export const isString: Check = (value, path) => expectThat(typeof value === 'string', 'a string', value, path)

export const isBoolean: Check = (value, path) =>
  expectThat(typeof value === 'boolean', 'true or false', value, path)

export const isNumber: Check = (value, path) =>
  expectThat(typeof value === 'number' && Number.isFinite(value), 'a number', value, path)

export function isOneOf(...known: readonly string[]): Check {
  const names = known.map((name) => JSON.stringify(name)).join(' or ')
  return (value, path) => expectThat(typeof value === 'string' && known.includes(value), names, value, path)
}

export const isNumberOrString: Check = (value, path) =>
  typeof value === 'string' ? undefined : isNumber(value, path)

/** Accepts an absent value; null is invalid. */
export function isOptional(check: Check): Check {
  return (value, path) => (value === undefined ? undefined : check(value, path))
}

export function isListOf(check: Check, lengthMin = 0): Check {
  return (value, path) => {
    expectThat(Array.isArray(value), 'a list', value, path)
    const items = value as readonly unknown[]
    if (items.length < lengthMin) throw new ReportError(`${path}: expected at least ${lengthMin} of them`)
    for (const [i, item] of items.entries()) check(item, `${path}[${i}]`)
  }
}

/** An object with any names, and values of one kind. */
export function isRecordOf(check: Check): Check {
  return (value, path) => {
    for (const [name, field] of Object.entries(fieldsOf(value, path))) check(field, `${path}.${name}`)
  }
}

/** An object with these fields; other fields are valid, so that later versions may add some. */
export function isObjectOf(checks: Readonly<Record<string, Check>>): Check {
  return (value, path) => {
    const fields = fieldsOf(value, path)
    for (const [name, check] of Object.entries(checks))
      check(fields[name], path === '' ? name : `${path}.${name}`)
  }
}

function fieldsOf(value: unknown, path: string): Readonly<Record<string, unknown>> {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  expectThat(isObject, 'an object', value, path)
  return value as Record<string, unknown>
}

function expectThat(holds: boolean, expected: string, value: unknown, path: string): void {
  if (holds) return
  const found = value === undefined ? 'nothing' : JSON.stringify(value)
  const shown = found.length > shownMax ? `${found.slice(0, shownMax)}...` : found
  throw new ReportError(`${path === '' ? '' : `${path}: `}expected ${expected}, found ${shown}`)
}
