import { decodeBody, encodeBody, isMillraceError } from '../../../protocol/index.js'
import type { Random } from '../../helpers/random.js'
import { extremeScalar, extremeValue } from './generator.js'

/** Bytes with a meaning in msgpack or in binary numbers. */
const interestingBytes = [
  0, 1, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4, 0xc6, 0xc7, 0xca, 0xcb, 0xcf,
  0xd3, 0xd4, 0xd8, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff,
] as const
const u32 = [0x7f, 0xff, 0xff, 0xff] as const

/** Makes another body from one, perhaps with bytes of a second one. */
export type BodyMutation = (body: Buffer, random: Random, other: Buffer) => Buffer

function flipBits(body: Buffer, random: Random): Buffer {
  const mutated = Buffer.from(body)
  for (let n = random.int(1, 4); n > 0 && mutated.length > 0; n--) {
    const at = random.int(0, mutated.length - 1)
    mutated[at] = (mutated[at] as number) ^ (1 << random.int(0, 7))
  }
  return mutated
}

function setBytes(body: Buffer, random: Random): Buffer {
  const mutated = Buffer.from(body)
  for (let n = random.int(1, 4); n > 0 && mutated.length > 0; n--)
    mutated[random.int(0, mutated.length - 1)] = random.pick(interestingBytes)
  return mutated
}

function cut(body: Buffer, random: Random): Buffer {
  return Buffer.from(body.subarray(0, random.int(0, body.length)))
}

function insert(body: Buffer, random: Random): Buffer {
  const at = random.int(0, body.length)
  const added = Array.from({ length: random.int(1, 8) }, () => random.pick(interestingBytes))
  return Buffer.concat([body.subarray(0, at), Buffer.from(added), body.subarray(at)])
}

function repeat(body: Buffer, random: Random): Buffer {
  const from = random.int(0, body.length)
  const to = random.int(from, body.length)
  return Buffer.concat([body.subarray(0, to), body.subarray(from)])
}

function splice(body: Buffer, random: Random, other: Buffer): Buffer {
  return Buffer.concat([
    body.subarray(0, random.int(0, body.length)),
    other.subarray(random.int(0, other.length)),
  ])
}

/** Nested containers, up to the depth at which the walk must stop. */
function depthBomb(body: Buffer, random: Random): Buffer {
  const depth = random.pick([7, 8, 9, 10, 100, 1_000, 4_000])
  const opener = random.pick([[0x91], [0x81, 0xa0], [0xdc, 0, 1], [0xdd, 0, 0, 0, 1]])
  const nested = Buffer.concat([...Array<Buffer>(depth).fill(Buffer.from(opener)), Buffer.of(0xc0)])
  return random.chance(0.5) ? nested : Buffer.concat([Buffer.of(0x92), body, nested])
}

/** A container or string that claims far more than there is. */
function hugeCount(body: Buffer, random: Random): Buffer {
  const claim = Buffer.of(random.pick([0xdd, 0xdf, 0xdb, 0xc6]), ...u32)
  return random.chance(0.5)
    ? Buffer.concat([claim, body])
    : Buffer.concat([body.subarray(0, random.int(0, body.length)), claim])
}

/** Replaces a value: the body stays well-formed, its types do not. */
function swapTypes(body: Buffer, random: Random, other: Buffer): Buffer {
  try {
    return Buffer.from(encodeBody(replaceNode(decodeBody(body), random, other)))
  } catch (error) {
    if (isMillraceError(error)) return flipBits(body, random)
    throw error
  }
}

function replaceNode(value: unknown, random: Random, other: Buffer): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || random.chance(0.15))
    return replacement(value, random, other)
  if (Array.isArray(value)) return replaceInArray(value, random, other)
  const record: Record<string, unknown> = { ...value }
  const names = Object.keys(record)
  if (names.length === 0 || random.chance(0.1)) return { ...record, [`extra${random.int(0, 9)}`]: 1 }
  const name = random.pick(names)
  if (random.chance(0.1)) delete record[name]
  else record[name] = replaceNode(record[name], random, other)
  return record
}

function replaceInArray(value: readonly unknown[], random: Random, other: Buffer): unknown[] {
  const items = [...value]
  if (items.length === 0) return [extremeScalar(random)]
  const at = random.int(0, items.length - 1)
  const what = random.int(0, 9)
  if (what === 0) items.splice(at, 1)
  else if (what === 1) items.push(items[at], items[at])
  else items[at] = replaceNode(items[at], random, other)
  return items
}

function replacement(value: unknown, random: Random, other: Buffer): unknown {
  if (typeof value === 'number' && random.chance(0.6))
    return value + random.pick([-1, 1, 2, 255, -value, value])
  if (typeof value === 'string' && random.chance(0.4)) return value + value
  if (random.chance(0.1)) return Buffer.from(other.subarray(0, 64))
  return extremeValue(random)
}

/** Changes of a body whose result may not be msgpack at all. */
export const roughBodyMutations: Readonly<Record<string, BodyMutation>> = {
  'body bits flipped': flipBits,
  'body bytes set': setBytes,
  'body cut': cut,
  'body bytes inserted': insert,
  'body part repeated': repeat,
  'bodies spliced': splice,
  'depth bomb': depthBomb,
  'huge count': hugeCount,
}

/** Changes of types and values; the result is msgpack. */
export const swapBodyTypes: BodyMutation = swapTypes
