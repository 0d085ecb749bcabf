import { crc32 } from 'node:zlib'

/**
 * The pipe's frames, little-endian. A batch: u32 bytes of payload, u32 CRC-32 of the payload, u32 messages; the payload:
 * for each message u32 bytes, then the value. An acknowledgement: u32 messages. A connection begins with one byte: its role.
 */
export const headerBytes = 12
export const lengthBytes = 4
export const ackBytes = 4
export const roles = { producer: 1, consumer: 2 } as const

/** A whole frame of a batch: header and payload. */
export interface PipeBatch {
  readonly frame: Buffer
  readonly messages: number
}

/** Fills frames with messages of one size. */
export class BatchWriter {
  #frame: Buffer
  #end = headerBytes
  #messages = 0

  constructor(readonly frameBytesMax: number) {
    this.#frame = Buffer.allocUnsafeSlow(frameBytesMax)
  }

  get messages(): number {
    return this.#messages
  }

  hasRoomFor(value: Uint8Array): boolean {
    return this.#end + lengthBytes + value.length <= this.frameBytesMax
  }

  add(value: Uint8Array): void {
    this.#frame.writeUInt32LE(value.length, this.#end)
    this.#frame.set(value, this.#end + lengthBytes)
    this.#end += lengthBytes + value.length
    this.#messages++
  }

  take(): Buffer {
    const isFull = this.#end > this.frameBytesMax / 2
    const filled = this.#frame.subarray(0, this.#end)
    const frame = isFull ? filled : Buffer.from(filled)
    if (isFull) this.#frame = Buffer.allocUnsafeSlow(this.frameBytesMax)
    frame.writeUInt32LE(frame.length - headerBytes, 0)
    frame.writeUInt32LE(crc32(frame.subarray(headerBytes)), 4)
    frame.writeUInt32LE(this.#messages, 8)
    this.#end = headerBytes
    this.#messages = 0
    return frame
  }
}

/** Cuts a stream into batches; copies every byte once, into its frame. */
export class BatchReader {
  readonly #header = Buffer.alloc(headerBytes)
  #frame: Buffer | undefined
  #filled = 0

  constructor(readonly onBatch: (batch: PipeBatch) => void) {}

  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const target: Buffer = this.#frame ?? this.#header
      const copied = chunk.copy(target, this.#filled, at, at + target.length - this.#filled)
      at += copied
      this.#filled += copied
      if (this.#filled < target.length) return
      if (this.#frame === undefined) this.#beginFrame()
      else this.#endFrame(this.#frame)
    }
  }

  #beginFrame(): void {
    this.#frame = Buffer.allocUnsafeSlow(headerBytes + this.#header.readUInt32LE(0))
    this.#header.copy(this.#frame)
  }

  #endFrame(frame: Buffer): void {
    if (crc32(frame.subarray(headerBytes)) !== frame.readUInt32LE(4))
      throw new Error('a batch has a wrong CRC')
    this.#frame = undefined
    this.#filled = 0
    this.onBatch({ frame, messages: frame.readUInt32LE(8) })
  }
}
