import { MillraceError } from '../protocol/index.js'

export const portDefault = 7420
const portMax = 65_535

/** Address of a broker. */
export interface Address {
  readonly host: string
  readonly port: number
}

/**
 * Parses `host`, `host:port` or `[ipv6]:port`; the default port is 7420.
 * @throws MillraceError BAD_OPTION that names the problem of the address
 */
export function parseAddress(given: string): Address {
  if (typeof given !== 'string') throw badAddress(given, `it is ${typeof given}`)
  const text = given.trim()
  if (text === '') throw badAddress(given, 'it is empty')
  const scheme = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)/i.exec(text)
  if (scheme !== null) throw badAddress(given, `it is a URL with the scheme "${scheme[1]}"`, scheme[2])
  if (/^\d+$/.test(text)) throw badAddress(given, 'it has no host', `localhost:${text}`)
  if (/^:[^:]*$/.test(text)) throw badAddress(given, 'it has no host', `localhost${text}`)
  const { host, port } = partsOf(given, text)
  if (host === '' || /[\s[\]/@?#]/.test(host)) throw badAddress(given, `"${host}" is not a host`)
  if (port === undefined) return { host, port: portDefault }
  if (!/^\d+$/.test(port))
    throw badAddress(given, `the port is "${port}", expected a number from 1 to ${portMax}`)
  if (Number(port) < 1 || Number(port) > portMax)
    throw badAddress(given, `the port is ${port}, expected 1 to ${portMax}`)
  return { host, port: Number(port) }
}

function partsOf(given: string, text: string): { readonly host: string; readonly port: string | undefined } {
  const v6 = /^\[([0-9a-f:.]+)\](?::(.*))?$/i.exec(text)
  if (v6 !== null) return { host: v6[1] as string, port: v6[2] }
  const [host = '', port, ...more] = text.split(':')
  if (more.length > 0)
    throw badAddress(
      given,
      'it has more than one colon; write an IPv6 address in brackets',
      `[${text}]:${portDefault}`,
    )
  return { host, port }
}

/** @param suggested the probable intention of the user */
function badAddress(given: unknown, problem: string, suggested?: string): MillraceError {
  const hint = isAddress(suggested) ? `; did you mean "${suggested}"?` : ''
  return new MillraceError(
    'BAD_OPTION',
    `${JSON.stringify(given)} is not an address: ${problem}; expected host:port, like localhost:${portDefault}${hint}`,
  )
}

function isAddress(text: string | undefined): text is string {
  if (text === undefined) return false
  try {
    parseAddress(text)
    return true
  } catch {
    // A suggestion that is no address itself does not help.
    return false
  }
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
