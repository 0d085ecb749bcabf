import { InvalidArgumentError } from 'commander'
import { MillraceError, type RawMessage } from '../../client/index.js'

/** A header that a message must have, with this value if one is given. */
export interface HeaderFilter {
  readonly name: string
  readonly value?: string
}

export interface FilterOptions {
  readonly key?: string
  readonly header?: readonly HeaderFilter[]
  readonly grep?: string
  readonly ignoreCase?: true
}

/** Parses `name` or `name=value`; for commander. */
export function headerFilter(text: string): HeaderFilter {
  const at = text.indexOf('=')
  if (at === 0 || text === '') throw new InvalidArgumentError('expected name or name=value')
  return at < 0 ? { name: text } : { name: text.slice(0, at), value: text.slice(at + 1) }
}

/**
 * Returns a function that tells whether a message passes all filters; undefined without filters.
 * @throws MillraceError BAD_OPTION if `--grep` is not a valid regular expression
 */
export function messageFilter(options: FilterOptions): ((message: RawMessage) => boolean) | undefined {
  const { key, header = [], grep, ignoreCase } = options
  if (ignoreCase === true && grep === undefined)
    throw new MillraceError('BAD_OPTION', '--ignore-case has no effect without --grep')
  const tests: ((message: RawMessage) => boolean)[] = []
  if (key !== undefined) {
    const bytes = Buffer.from(key)
    tests.push(({ keyBytes }) => keyBytes !== undefined && bytes.equals(keyBytes))
  }
  for (const { name, value } of header) {
    const bytes = value === undefined ? undefined : Buffer.from(value)
    tests.push(({ headerBytes }) => {
      const found = Object.hasOwn(headerBytes, name) ? headerBytes[name] : undefined
      return found !== undefined && (bytes === undefined || bytes.equals(found))
    })
  }
  if (grep !== undefined) {
    const pattern = patternOf(grep, ignoreCase === true)
    tests.push(({ valueBytes }) => valueBytes !== undefined && pattern.test(asText(valueBytes)))
  }
  if (tests.length === 0) return undefined
  return (message) => tests.every((one) => one(message))
}

function patternOf(text: string, ignoreCase: boolean): RegExp {
  try {
    return new RegExp(text, ignoreCase ? 'iu' : 'u')
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MillraceError(
      'BAD_OPTION',
      `--grep ${JSON.stringify(text)} is not a regular expression: ${reason}`,
      {
        cause,
      },
    )
  }
}

function asText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
