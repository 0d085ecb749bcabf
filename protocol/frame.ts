import { MillraceError } from './errors.js'
import { limits } from './limits.js'
import { encodeBody } from './msgpack.js'

/**
 * A frame, little-endian. These numbers stand on the wire and are never changed.
 *
 *     0  u32  length       bytes that follow this field
 *     4  u16  command      number of the command, the same in request and reply
 *     6  u16  flags        bit 0: reply, bit 1: the reply is an error; other bits are 0
 *     8  u32  correlation  chosen by the client, repeated in the reply
 *    12  u32  bodyBytes    size of the msgpack body
 *    16       body         msgpack, see msgpack.ts
 *             payload      the rest: record batches, back to back
 */
export const frameHeaderBytes = 16
const lengthFieldBytes = 4
const chunksMax = 1024
const lengthMin = frameHeaderBytes - lengthFieldBytes

export const frameFlags = { reply: 1, error: 2 } as const

export interface Frame {
  readonly command: number
  readonly flags: number
  readonly correlation: number
  /** A view into what was received: copy what must outlive the call. */
  readonly body: Uint8Array
  /** A view into what was received: copy what must outlive the call. */
  readonly payload: Uint8Array
}

/**
 * Header and body of a frame as one buffer; the caller sends the `payloadBytes` of payload right after it, so that
 * large payloads are never copied.
 */
export function encodeFrame(
  command: number,
  flags: number,
  correlation: number,
  body: unknown,
  payloadBytes = 0,
): Buffer {
  const encoded = encodeBody(body)
  const head = Buffer.allocUnsafe(frameHeaderBytes + encoded.length)
  head.writeUInt32LE(lengthMin + encoded.length + payloadBytes, 0)
  head.writeUInt16LE(command, 4)
  head.writeUInt16LE(flags, 6)
  head.writeUInt32LE(correlation, 8)
  head.writeUInt32LE(encoded.length, 12)
  head.set(encoded, frameHeaderBytes)
  return head
}

/**
 * Cuts a byte stream into frames, on either end. The length is checked as soon as its four bytes are there, before
 * anything of the frame is kept; a frame inside one chunk is not copied, one across chunks is copied once.
 */
export class FrameDecoder {
  /** The limit on the length field; raised by the broker once `hello` is answered. */
  frameBytesMax: number
  #chunks: Uint8Array[] = []
  #bufferedBytes = 0

  constructor(frameBytesMax: number = limits.frameBytesMax) {
    this.frameBytesMax = frameBytesMax
  }

  /** Bytes of an unfinished frame that are held. */
  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  /**
   * Adds received bytes and returns the frames that they complete.
   * @throws MillraceError BAD_FRAME; the stream can't be read on after that.
   */
  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = []
    let rest = chunk
    while (rest.length > 0) {
      const needed = this.#frameBytes(rest)
      const missing = (needed ?? Number.POSITIVE_INFINITY) - this.#bufferedBytes
      if (rest.length < missing) {
        this.#keep(rest)
        break
      }
      frames.push(parseFrame(this.#take(rest.subarray(0, missing))))
      rest = rest.subarray(missing)
    }
    return frames
  }

  /** A peer that sends byte by byte must not cost an object a byte, so many small chunks become one. */
  #keep(chunk: Uint8Array): void {
    this.#chunks.push(chunk)
    this.#bufferedBytes += chunk.length
    if (this.#chunks.length >= chunksMax) this.#chunks = [Buffer.concat(this.#chunks)]
  }

  #take(last: Uint8Array): Uint8Array {
    if (this.#chunks.length === 0) return last
    this.#chunks.push(last)
    const whole = Buffer.concat(this.#chunks)
    this.#chunks = []
    this.#bufferedBytes = 0
    return whole
  }

  /** Size of the frame that begins the buffered chunks and then `next`; undefined while its length is incomplete. */
  #frameBytes(next: Uint8Array): number | undefined {
    if (this.#bufferedBytes + next.length < lengthFieldBytes) return undefined
    let length = 0
    for (let i = 0; i < lengthFieldBytes; i++) length += this.#byteAt(i, next) * 2 ** (8 * i)
    if (length > this.frameBytesMax) {
      throw new MillraceError(
        'BAD_FRAME',
        `the length field says ${length} bytes, at most ${this.frameBytesMax} are allowed`,
      )
    }
    if (length < lengthMin) {
      throw new MillraceError(
        'BAD_FRAME',
        `the length field says ${length} bytes, at least ${lengthMin} are needed`,
      )
    }
    return lengthFieldBytes + length
  }

  #byteAt(index: number, next: Uint8Array): number {
    let at = index
    for (const chunk of this.#chunks) {
      if (at < chunk.length) return chunk[at] as number
      at -= chunk.length
    }
    return next[at] as number
  }
}

function parseFrame(whole: Uint8Array): Frame {
  const view = new DataView(whole.buffer, whole.byteOffset, frameHeaderBytes)
  const bodyBytes = view.getUint32(12, true)
  const bodyEnd = frameHeaderBytes + bodyBytes
  if (bodyBytes > limits.bodyBytesMax || bodyEnd > whole.length) {
    throw new MillraceError(
      'BAD_FRAME',
      `the body is said to have ${bodyBytes} bytes, at most ${Math.min(limits.bodyBytesMax, whole.length - frameHeaderBytes)} are possible`,
    )
  }
  return {
    command: view.getUint16(4, true),
    flags: view.getUint16(6, true),
    correlation: view.getUint32(8, true),
    body: whole.subarray(frameHeaderBytes, bodyEnd),
    payload: whole.subarray(bodyEnd),
  }
}
