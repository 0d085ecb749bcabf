import { MillraceError } from '../protocol/index.js'

export const portDefault = 7420

/** Address of a broker. */
export interface Address {
  readonly host: string
  readonly port: number
}

/**
 * Parses `host`, `host:port` or `[ipv6]:port`; the default port is 7420.
 * @throws MillraceError BAD_OPTION
 */
export function parseAddress(text: string): Address {
  if (/^\s*:?\d+\s*$/.test(text)) {
    const port = text.trim().replace(':', '')
    throw new MillraceError('BAD_OPTION', `"${text}" has no host, expected host:port, like localhost:${port}`)
  }
  const match = /^(?:\[(?<v6>[0-9a-fA-F:.]+)\]|(?<host>[^:[\]\s]+))(?::(?<port>\d{1,5}))?$/.exec(text.trim())
  const host = match?.groups?.v6 ?? match?.groups?.host
  const port = match?.groups?.port === undefined ? portDefault : Number(match.groups.port)
  if (host === undefined || port < 1 || port > 65535) {
    throw new MillraceError(
      'BAD_OPTION',
      `"${text}" is not an address, expected host:port, like localhost:${portDefault}`,
    )
  }
  return { host, port }
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
