import { createHash } from 'node:crypto'
import { defineTopic, type Topic } from '../../../client/index.js'
import type { Random } from '../../helpers/random.js'

const separator = 0x7c
const paddingSource = createHash('sha512').update('padding').digest()

/**
 * A value that is unique forever, made larger: `id|padding`, the padding given by id and size, so that any damage to it is
 * seen.
 */
export function encodeValue({ id, bytes }: SizedValue): Uint8Array {
  const head = Buffer.from(`${id}|${bytes}|`, 'latin1')
  const value = Buffer.alloc(Math.max(bytes, head.length))
  head.copy(value)
  fillPadding(value, head.length, id)
  return value
}

export interface SizedValue {
  readonly id: string
  readonly bytes: number
}

/** The id, or the id with a mark when the bytes are not those that were published under it. */
export function decodeValue(value: Uint8Array): SizedValue {
  const idEnd = value.indexOf(separator)
  const id = Buffer.from(value.subarray(0, Math.max(0, idEnd))).toString('latin1')
  const sizeEnd = value.indexOf(separator, idEnd + 1)
  const bytes = Number(Buffer.from(value.subarray(idEnd + 1, sizeEnd)).toString('latin1'))
  const isIntact =
    idEnd > 0 && Number.isSafeInteger(bytes) && Buffer.compare(encodeValue({ id, bytes }), value) === 0
  return isIntact ? { id, bytes } : { id: `${id || '(no id)'}!damaged`, bytes: value.length }
}

function fillPadding(value: Buffer, from: number, id: string): void {
  let shift = 0
  for (let i = 0; i < id.length; i++) shift = (shift * 31 + id.charCodeAt(i)) & 63
  for (let at = from; at < value.length; at++) value[at] = paddingSource[(at + shift) & 63] ?? 0
}

/** Mostly small, now and then up to `bytesMax`. */
export function randomBytes(random: Random, bytesMax: number): number {
  return Math.floor(16 * (bytesMax / 16) ** (random.float() ** 3))
}

/** A topic of such values. */
export function faultTopic(name: string): Topic<SizedValue> {
  return defineTopic(name, { value: { name: 'sized value', encode: encodeValue, decode: decodeValue } })
}
