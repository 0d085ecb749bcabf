import { bytesText } from './amount_text.js'
import { MillraceError } from './errors.js'
import { limits } from './limits.js'
import { encodeBody } from './msgpack.js'

/**
 * A frame, little-endian. These numbers are part of the wire protocol and never change.
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
/** The decoder allocates at most this many times the bytes received of a frame, */
const growthMax = 16
/** and at least this much. */
const capacityMin = 4 * 1024
const lengthMin = frameHeaderBytes - lengthFieldBytes

export const frameFlags = { reply: 1, error: 2 } as const

export interface Frame {
  readonly command: number
  readonly flags: number
  readonly correlation: number
  /** A view into the received bytes: copy it to keep it after the call. */
  readonly body: Uint8Array
  /** A view into the received bytes: copy it to keep it after the call. */
  readonly payload: Uint8Array
  /** Memory from the decoder's `allocate` that holds this frame; absent if the frame is a view of a chunk. */
  readonly memory?: Buffer
}

/**
 * Encodes header and body of a frame as one buffer. The caller sends `payloadBytes` of payload right after it, so that
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

export interface FrameDecoderOptions {
  /** Allocates memory for frames that span chunks. Default: new memory. */
  readonly allocate?: (bytes: number) => Buffer
  /** Set if the caller overwrites chunks after `push`: the decoder then copies every frame. */
  readonly chunksAreReused?: boolean
}

/**
 * Cuts a byte stream into frames, on either end. It checks the length as soon as its four bytes are there, before it
 * keeps anything of the frame. It does not copy a frame that is inside one chunk. It copies a frame across chunks once,
 * and again when its memory grows with the received bytes.
 */
export class FrameDecoder {
  /** Limit of the length field. The broker raises it after the reply to `hello`. */
  frameBytesMax: number
  readonly #allocate: (bytes: number) => Buffer
  readonly #chunksAreReused: boolean
  /** Memory of the unfinished frame; its first bytes are the received ones. */
  #memory: Buffer | undefined
  #receivedBytes = 0
  /** Size of the unfinished frame; undefined while its length is incomplete. */
  #frameBytes: number | undefined

  constructor(
    frameBytesMax: number = limits.frameBytesMax,
    { allocate = Buffer.allocUnsafe, chunksAreReused = false }: FrameDecoderOptions = {},
  ) {
    this.frameBytesMax = frameBytesMax
    this.#allocate = allocate
    this.#chunksAreReused = chunksAreReused
  }

  /** Bytes held for an unfinished frame. */
  get bufferedBytes(): number {
    return this.#memory?.length ?? 0
  }

  /**
   * Adds received bytes and returns the frames that they complete.
   * @throws MillraceError BAD_FRAME; the stream can't be read on after that.
   */
  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = []
    for (let at = 0; at < chunk.length; ) {
      if (this.#memory === undefined) {
        const bytes = frameBytesAt(chunk, at, this.frameBytesMax)
        if (!this.#chunksAreReused && bytes !== undefined && at + bytes <= chunk.length) {
          frames.push(parseFrame(chunk.subarray(at, at + bytes)))
          at += bytes
          continue
        }
        this.#frameBytes = bytes
        this.#receivedBytes = 0
      }
      at = this.#fill(chunk, at)
      if (this.#receivedBytes === this.#frameBytes) frames.push(this.#finish())
    }
    return frames
  }

  /**
   * Copies the missing bytes of the unfinished frame, as far as the chunk has them; returns the position after them.
   */
  #fill(chunk: Uint8Array, at: number): number {
    const wantedBytes = this.#frameBytes ?? lengthFieldBytes
    const end = Math.min(chunk.length, at + wantedBytes - this.#receivedBytes)
    const memory = this.#reserve(this.#receivedBytes + end - at, wantedBytes)
    memory.set(chunk.subarray(at, end), this.#receivedBytes)
    this.#receivedBytes += end - at
    this.#frameBytes ??=
      this.#receivedBytes < lengthFieldBytes ? undefined : frameBytesAt(memory, 0, this.frameBytesMax)
    return end
  }

  /**
   * Returns memory for `bytes` of the frame, with the received bytes in it. A length field alone makes the decoder
   * allocate little.
   */
  #reserve(bytes: number, wantedBytes: number): Buffer {
    const memory = this.#memory
    if (memory !== undefined && memory.length >= bytes) return memory
    const grown = this.#allocate(Math.min(wantedBytes, Math.max(bytes * growthMax, capacityMin)))
    if (memory !== undefined) grown.set(memory)
    this.#memory = grown
    return grown
  }

  #finish(): Frame {
    const memory = this.#memory as Buffer
    this.#memory = undefined
    this.#frameBytes = undefined
    return { ...parseFrame(memory), memory }
  }
}

/**
 * Size of the frame that begins at `at`; undefined while its length is incomplete.
 * @throws MillraceError BAD_FRAME
 */
function frameBytesAt(bytes: Uint8Array, at: number, frameBytesMax: number): number | undefined {
  if (at + lengthFieldBytes > bytes.length) return undefined
  const length = new DataView(bytes.buffer, bytes.byteOffset + at, lengthFieldBytes).getUint32(0, true)
  if (length > frameBytesMax)
    throw new MillraceError(
      'BAD_FRAME',
      `the length field is ${bytesText(length)}, expected at most ${bytesText(frameBytesMax)}`,
    )
  if (length < lengthMin)
    throw new MillraceError(
      'BAD_FRAME',
      `the length field is ${length}, expected at least ${lengthMin} bytes`,
    )
  return lengthFieldBytes + length
}

function parseFrame(whole: Uint8Array): Frame {
  const view = new DataView(whole.buffer, whole.byteOffset, frameHeaderBytes)
  const bodyBytes = view.getUint32(12, true)
  const bodyEnd = frameHeaderBytes + bodyBytes
  if (bodyBytes > limits.bodyBytesMax || bodyEnd > whole.length) {
    throw new MillraceError(
      'BAD_FRAME',
      `the bodyBytes field is ${bodyBytes}, expected at most ${Math.min(limits.bodyBytesMax, whole.length - frameHeaderBytes)}`,
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
