import { limitText, MillraceError, suggestion } from '../protocol/index.js'

/** The option names of an object: a table, so that the compiler finds a missing name. */
export type OptionNames<Options> = { readonly [Name in keyof Options]-?: true }

/**
 * Refuses unknown options; without this check a misspelled option has no effect.
 * @param where the function with the options, as the caller knows it: "client.consume"
 * @param prefix the option that holds these options, with a dot: "retry."
 * @throws MillraceError BAD_OPTION that names the option and the nearest known one
 */
export function checkOptions<Options extends object>(
  where: string,
  options: Options | undefined,
  names: OptionNames<Options>,
  prefix = '',
): void {
  if (options === undefined) return
  if (typeof options !== 'object' || options === null)
    throw new MillraceError('BAD_OPTION', `${where} got ${typeOf(options)}, expected an object with options`)
  for (const name in options) if (!Object.hasOwn(names, name)) throw unknownOption(where, name, names, prefix)
}

/**
 * Refuses a value that is not one of the allowed values of an option.
 * @throws MillraceError BAD_OPTION that names the option and its values
 */
export function checkChoice(name: string, value: unknown, choices: readonly string[], others = ''): void {
  if (choices.includes(value as string)) return
  const expected = choices.map((choice) => JSON.stringify(choice)).join(', ')
  throw new MillraceError(
    'BAD_OPTION',
    `the option "${name}" is ${JSON.stringify(value) ?? String(value)}, expected ${expected}${others}`,
  )
}

/**
 * Returns the number of an option.
 * @throws MillraceError BAD_OPTION that names the option and its limits
 */
export function wholeOption(name: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value
  const upTo = max === Number.MAX_SAFE_INTEGER ? '' : ` to ${limitText(name, max)}`
  throw new MillraceError(
    'BAD_OPTION',
    `the option "${name}" is ${typeof value === 'number' ? value : JSON.stringify(value)}, expected a whole number from ${limitText(name, min)}${upTo}`,
  )
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** Default: the client's `requestTimeoutMs`. */
  readonly timeoutMs?: number | undefined
}

export const callOptionNames: OptionNames<CallOptions> = { signal: true, timeoutMs: true }

/** @throws MillraceError BAD_OPTION */
export function checkCallOptions(where: string, options: CallOptions): void {
  checkOptions(where, options, callOptionNames)
}

function unknownOption(where: string, name: string, names: object, prefix: string): MillraceError {
  const known = Object.keys(names)
  const hint = suggestion(name, known) || `; its options are ${known.join(', ')}`
  return new MillraceError('BAD_OPTION', `${where} has no option "${prefix}${name}"${hint}`)
}

function typeOf(value: unknown): string {
  return value === null ? 'null' : `a ${typeof value}`
}
