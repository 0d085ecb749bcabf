import { Packr, Unpackr } from 'msgpackr'
import { MillraceError } from './errors.js'
import { limits } from './limits.js'

const packr = new Packr({ useRecords: false, variableMapSize: true, encodeUndefinedAsNil: true })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

/** Encodes a control body. Values are maps, arrays, strings, finite numbers, booleans, nil and bytes. */
export function encodeBody(value: unknown): Uint8Array {
  return packr.pack(value)
}

/**
 * Decodes a control body from a peer, after `checkBody` has walked it: msgpack alone would decode
 * extension types and allocate as much as a length field claims.
 * @throws MillraceError BAD_FRAME
 */
export function decodeBody(body: Uint8Array): unknown {
  checkBody(body)
  try {
    return unpackr.unpack(body)
  } catch (cause) {
    throw new MillraceError('BAD_FRAME', 'the body is not valid msgpack', { cause })
  }
}

/** For each first byte: the bytes of a fixed-size scalar after it, or -1 if `checkBody` must look closer. */
const scalarBytes = new Int8Array(256).fill(-1)
for (let byte = 0; byte < 256; byte++) {
  if (byte <= 0x7f || byte >= 0xe0 || byte === 0xc0 || byte === 0xc2 || byte === 0xc3) scalarBytes[byte] = 0
  else if (byte >= 0xa0 && byte <= 0xbf) scalarBytes[byte] = byte & 0x1f
}
for (const [byte, bytes] of [
  [0xcc, 1],
  [0xcd, 2],
  [0xce, 4],
  [0xcf, 8],
  [0xd0, 1],
  [0xd1, 2],
  [0xd2, 4],
  [0xd3, 8],
  [0xca, 4],
  [0xcb, 8],
] as const) {
  scalarBytes[byte] = bytes
}

/**
 * Walks the tokens of a msgpack body (https://github.com/msgpack/msgpack/blob/master/spec.md) without building
 * anything: one value that ends where the body ends, nested at most `bodyDepthMax` deep, no extension types, no
 * container that claims more items than bytes are left, at most `bodyKeysMax` different keys of maps. Its work is bounded
 * by the length of the body.
 * @throws MillraceError BAD_FRAME
 */
export function checkBody(body: Uint8Array): void {
  const itemsLeft: number[] = [1]
  let at = 0
  let keys = 0
  while (itemsLeft.length > 0) {
    const level = itemsLeft.length - 1
    const left = itemsLeft[level] as number
    if (left === 0) {
      itemsLeft.pop()
      continue
    }
    itemsLeft[level] = left - 1
    if (at >= body.length) throw badBody('it is incomplete')
    const first = body[at++] as number
    const fixed = scalarBytes[first] as number
    if (fixed >= 0) {
      at += fixed
    } else if (first >= 0x80 && first <= 0x9f) {
      const count = first & 0x0f
      if (first >= 0x90) open(count)
      else openMap(count)
    } else {
      readSized(first)
    }
    if (at > body.length) throw badBody('it is incomplete')
  }
  if (at !== body.length) throw badBody(`${body.length - at} bytes follow its value`)
  if (keys > keysUnseenMax) checkKeys(body)

  function readSized(first: number): void {
    if (first === 0xc4 || first === 0xd9) at += 1 + length(1)
    else if (first === 0xc5 || first === 0xda) at += 2 + length(2)
    else if (first === 0xc6 || first === 0xdb) at += 4 + length(4)
    else if (first === 0xdc || first === 0xdd) open(count(first === 0xdc ? 2 : 4))
    else if (first === 0xde || first === 0xdf) openMap(count(first === 0xde ? 2 : 4))
    else throw badBody(`type byte 0x${first.toString(16)} is not allowed here`)
  }

  function count(bytes: number): number {
    const items = length(bytes)
    at += bytes
    return items
  }

  function openMap(entries: number): void {
    keys += entries
    open(entries * 2)
  }

  function open(count: number): void {
    if (count > body.length - at) throw badBody('an array or map has a larger count than the body has bytes')
    if (itemsLeft.length > limits.bodyDepthMax)
      throw badBody(`its nesting is deeper than ${limits.bodyDepthMax} levels`)
    itemsLeft.push(count)
  }

  function length(bytes: number): number {
    if (at + bytes > body.length) throw badBody('it is incomplete')
    let value = 0
    for (let i = 0; i < bytes; i++) value = value * 256 + (body[at + i] as number)
    return value
  }
}

/** Up to this number of keys in all maps, they are not checked: they take a few ms at most. */
const keysUnseenMax = 2_048

/**
 * Counts the different keys of a body that `checkBody` has walked. Objects with the same keys share their shape, while an
 * object with other keys costs microseconds for each of them.
 * @throws MillraceError BAD_FRAME
 */
function checkKeys(body: Uint8Array): void {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length)
  const keys = new Set<string>()
  /** Items left of each open container, and whether it is a map: then every item with an even number left is a key. */
  const itemsLeft: number[] = [1]
  const isMap: boolean[] = [false]
  let at = 0
  while (itemsLeft.length > 0) {
    const level = itemsLeft.length - 1
    const left = itemsLeft[level] as number
    if (left === 0) {
      itemsLeft.pop()
      isMap.pop()
      continue
    }
    itemsLeft[level] = left - 1
    const start = at
    const first = body[at++] as number
    const fixed = scalarBytes[first] as number
    const lengthBytes = lengthBytesOf(first)
    if (fixed >= 0) at += fixed
    else if (first <= 0x9f) {
      itemsLeft.push(first < 0x90 ? (first & 0x0f) * 2 : first & 0x0f)
      isMap.push(first < 0x90)
    } else {
      const length = bytes.readUIntBE(at, lengthBytes)
      at += lengthBytes
      if (first < 0xdc) at += length
      else {
        itemsLeft.push(first >= 0xde ? length * 2 : length)
        isMap.push(first >= 0xde)
      }
    }
    if (!isMap[level] || left % 2 === 1) continue
    keys.add(bytes.toString('latin1', start, at))
    if (keys.size > limits.bodyKeysMax)
      throw badBody(`its maps have more than ${limits.bodyKeysMax} different keys`)
  }
}

/** Size of the length field after a first byte of a string, bytes, array or map that has one. */
function lengthBytesOf(first: number): 1 | 2 | 4 {
  if (first === 0xc4 || first === 0xd9) return 1
  return first === 0xc5 || first === 0xda || first === 0xdc || first === 0xde ? 2 : 4
}

function badBody(problem: string): MillraceError {
  return new MillraceError('BAD_FRAME', `the msgpack body is malformed: ${problem}`)
}
