import { type Command, InvalidArgumentError, Option } from 'commander'
import { parseAddress } from '../client/address.js'
import {
  type Client,
  connect,
  durationMs,
  durationOrForeverMs,
  isMillraceError,
  MillraceError,
  type ProducerOptions,
  sizeBytes,
} from '../client/index.js'
import { durationText } from '../protocol/index.js'
import { defaultServer, exitCodes } from './errors.js'

/** The longest delay of a timer. */
const timerMsMax = 2 ** 31 - 1

/** Options of every command that connects to a broker. */
export interface CommonOptions {
  readonly server: string
  readonly json?: true
}

/** Adds `--server` and `--json`. */
export function withCommon(command: Command): Command {
  return command
    .addOption(
      new Option('-s, --server <host:port>', 'address of the broker; a port alone means localhost')
        .env('MILLRACE_SERVER')
        .default(defaultServer),
    )
    .option('--context <name>', 'use the broker of this context, see "millrace context"')
    .option('--json', 'print JSON')
}

/**
 * Connects; the signal ends the connection attempt, and has no effect later.
 * @param timeoutMs time limit of the attempt, whatever the number of addresses; default: that of the client
 */
export async function openClient(
  { server }: Pick<CommonOptions, 'server'>,
  signal?: AbortSignal,
  producer: ProducerOptions = {},
  timeoutMs?: number,
): Promise<Client> {
  const attempt = new AbortController()
  const abort = (): void => attempt.abort()
  const late = (): void => {
    const problem = `no connection within ${durationText(timeoutMs ?? 0)}`
    attempt.abort(new MillraceError('NOT_CONNECTED', problem))
  }
  const timer = timeoutMs === undefined ? undefined : setTimeout(late, Math.min(timeoutMs, timerMsMax))
  signal?.addEventListener('abort', abort, { once: true })
  try {
    const servers = addressesOf(server)
    const client = await connect({ servers, clientName: 'millrace-cli', producer, signal: attempt.signal })
    tellConnection(client)
    return client
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

/** Reports on stderr when the connection is lost, and when it is back. */
function tellConnection(client: Client): void {
  let told: string | undefined
  client.on('reconnecting', ({ address, error }) => {
    if (told === address) return
    told = address
    process.stderr.write(`millrace: reconnecting to ${address} … (${error.message})\n`)
  })
  client.on('connected', ({ address }) => {
    if (told !== undefined) process.stderr.write(`millrace: connected to ${address} again\n`)
    told = undefined
  })
}

/** The addresses in `--server`. @throws MillraceError BAD_OPTION */
export function addressesOf(server: string): string[] {
  const addresses = server.split(',').map(withHost)
  if (addresses.length > 1 && addresses.some((address) => address.trim() === ''))
    throw new MillraceError(
      'BAD_OPTION',
      `${JSON.stringify(server)} has a comma without an address, expected addresses like host:port,host:port`,
    )
  for (const address of addresses) parseAddress(address)
  return addresses
}

/** A port alone means localhost. */
function withHost(server: string): string {
  return /^:?\d+$/.test(server.trim()) ? `localhost:${server.trim().replace(':', '')}` : server
}

/**
 * Connects, runs the work with the client, and closes it.
 * @param timeoutMs time limit of the connection; after work that failed the client then drops what it has not sent
 */
export async function withClient<T>(
  { server }: CommonOptions,
  work: (client: Client) => Promise<T>,
  signal?: AbortSignal,
  timeoutMs?: number,
): Promise<T> {
  const client = await openClient({ server }, signal, {}, timeoutMs)
  let isDone = false
  try {
    const result = await work(client)
    isDone = true
    return result
  } finally {
    const isLate = timeoutMs !== undefined && !isDone
    await client.close(isLate ? { timeoutMs: 0 } : signal?.aborted === true ? { timeoutMs: 5_000 } : {})
  }
}

/** Parses a whole number from `min` to `max`; for commander. */
export function wholeNumber(min = 0, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= min && value <= max) return value
    const upTo = max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`
    throw new InvalidArgumentError(`expected a whole number from ${min}${upTo}`)
  }
}

/** Checks a time like 30s; for commander. */
export function duration(text: string): string {
  return checked(text, durationMs)
}

/** Checks a time like 7d, or "forever"; for commander. */
export function durationOrForever(text: string): string {
  return checked(text, durationOrForeverMs)
}

/** Checks a size like 10GB; for commander. */
export function size(text: string): string {
  return checked(text, sizeBytes)
}

function checked(text: string, parse: (name: string, text: string) => number): string {
  checkedMs(text, parse)
  return text
}

function checkedMs(text: string, parse: (name: string, text: string) => number): number {
  try {
    return parse('', text)
  } catch (error) {
    if (!isMillraceError(error, 'BAD_OPTION')) throw error
    throw new InvalidArgumentError(error.message.replace(/^.*, expected/, 'expected'))
  }
}

/** Collects a repeatable `name=value`; for commander. */
export function addHeader(
  text: string,
  previous: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('expected name=value')
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) }
}

/** Collects a repeatable option; for commander. */
export function collect<T>(
  parse: (text: string) => T,
): (text: string, previous: readonly T[] | undefined) => T[] {
  return (text, previous = []) => [...previous, parse(text)]
}

/** Refuses two flags of one option that contradict each other; commander would silently take the last one. */
export function refuseBoth(command: Command, one: string, other: string): void {
  const given = new Set<string>()
  for (const flag of [one, other])
    command.on(`option:${flag.slice(2)}`, () => {
      given.add(flag)
      if (given.size === 2) command.error(`error: give ${one} or ${other}, not both`)
    })
}

/** Checks a time like 30s of at most `maxMs`, or 0; for commander. */
export function durationUpTo(maxMs: number): (text: string) => string {
  return (text) => {
    if (text === '0') return '0ms'
    const ms = checkedMs(text, durationMs)
    if (ms > maxMs) throw new InvalidArgumentError(`expected at most ${durationText(maxMs)}`)
    return text
  }
}

/**
 * A signal that the first Ctrl-C or SIGTERM aborts.
 * @param again called for further signals; by default they end the process at once
 */
export function interruptSignal(again: () => void = () => process.exit(exitCodes.interrupted)): {
  readonly signal: AbortSignal
  release(): void
} {
  const controller = new AbortController()
  const interrupt = (): void => {
    if (controller.signal.aborted) again()
    else controller.abort()
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  return {
    signal: controller.signal,
    release() {
      process.off('SIGINT', interrupt)
      process.off('SIGTERM', interrupt)
    },
  }
}
