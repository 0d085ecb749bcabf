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
/** A frame is given at most so many times the memory that has come of it, */
const growthMax = 16
/** and at least so much. */
const capacityMin = 4 * 1024
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
  /** What the decoder's `allocate` gave to put this frame together, where it is not a view of a chunk. */
  readonly memory?: Buffer
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

export interface FrameDecoderOptions {
  /** Gives the memory of frames that are put together. Default: new memory. */
  readonly allocate?: (bytes: number) => Buffer
  /** Whether chunks are overwritten after `push`: then every frame is copied out of them. */
  readonly chunksAreReused?: boolean
}

/**
 * Cuts a byte stream into frames, on either end. The length is checked as soon as its four bytes are there, before
 * anything of the frame is kept; a frame inside one chunk is not copied, one across chunks is copied once, and again as
 * its memory grows with what has come.
 */
export class FrameDecoder {
  /** The limit on the length field; raised by the broker once `hello` is answered. */
  frameBytesMax: number
  readonly #allocate: (bytes: number) => Buffer
  readonly #chunksAreReused: boolean
  /** The unfinished frame; its bytes so far are the first of it. */
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

  /** Bytes that are held for an unfinished frame. */
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

  /** Copies what the unfinished frame lacks, or the chunk has; returns where the rest begins. */
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

  /** Memory for so many bytes of the frame, with those in it that have come. A length alone gets a peer little of it. */
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
      `the length field says ${length} bytes, at most ${frameBytesMax} are allowed`,
    )
  if (length < lengthMin)
    throw new MillraceError(
      'BAD_FRAME',
      `the length field says ${length} bytes, at least ${lengthMin} are needed`,
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
