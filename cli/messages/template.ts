import { InvalidArgumentError } from 'commander'
import type { RawMessage } from '../../client/index.js'

/** Writes one message as bytes. */
export type MessageFormat = (message: RawMessage) => Uint8Array

type Part = Uint8Array | ((message: RawMessage) => Uint8Array)

const nothing = new Uint8Array(0)
const lineEnd = Buffer.from('\n')

const directives: Readonly<Record<string, (message: RawMessage) => Uint8Array>> = {
  t: ({ topic }) => Buffer.from(topic),
  p: ({ partition }) => Buffer.from(String(partition)),
  o: ({ offset }) => Buffer.from(String(offset)),
  T: ({ timestamp }) => Buffer.from(String(timestamp)),
  k: ({ keyBytes }) => keyBytes ?? nothing,
  v: ({ valueBytes }) => valueBytes ?? nothing,
  h: headersOf,
  '%': () => Buffer.from('%'),
}

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '0': '\0', '\\': '\\' }

/**
 * Compiles a format like `%t[%p] %o: %k %v`. A line end follows each message, unless the format ends with `\n` or `\0`.
 * An absent key or value becomes the empty text. For commander.
 * @throws InvalidArgumentError for an unknown directive
 */
export function messageTemplate(text: string): MessageFormat {
  const parts: Part[] = []
  let literal = ''
  const flush = (): void => {
    if (literal !== '') parts.push(Buffer.from(literal))
    literal = ''
  }
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at)
    if (char !== '%' && char !== '\\') {
      literal += char
      continue
    }
    const name = text.charAt(++at)
    if (char === '\\') {
      const escaped = escapes[name]
      if (escaped === undefined) throw unknown(`\\${name}`)
      literal += escaped
      continue
    }
    const directive = Object.hasOwn(directives, name) ? directives[name] : undefined
    if (directive === undefined) throw unknown(`%${name}`)
    flush()
    parts.push(directive)
  }
  const endsItself = literal.endsWith('\n') || literal.endsWith('\0')
  flush()
  if (!endsItself) parts.push(lineEnd)
  return (message) => Buffer.concat(parts.map((part) => (part instanceof Uint8Array ? part : part(message))))
}

function headersOf({ headerBytes }: RawMessage): Uint8Array {
  const parts: Uint8Array[] = []
  for (const [name, bytes] of Object.entries(headerBytes))
    parts.push(Buffer.from(`${parts.length === 0 ? '' : ','}${name}=`), bytes)
  return Buffer.concat(parts)
}

function unknown(directive: string): InvalidArgumentError {
  return new InvalidArgumentError(
    `"${directive}" is unknown, expected %t topic, %p partition, %o offset, %T timestamp, %k key, %v value, %h headers, %%, \\n, \\t, \\r, \\0 or \\\\`,
  )
}
