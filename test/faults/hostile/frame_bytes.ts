import { frameHeaderBytes } from '../../../protocol/index.js'

/** Positions of the fields of a frame header; see protocol/frame.ts. */
export const frameFields = { length: 0, command: 4, flags: 6, correlation: 8, bodyBytes: 12 } as const

const lengthFieldBytes = 4

/** A frame with correct sizes, whatever its content. */
export function joinFrame(
  head: { readonly command: number; readonly flags: number; readonly correlation: number },
  body: Uint8Array,
  payload: Uint8Array,
): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + body.length + payload.length)
  frame.writeUInt32LE(frame.length - lengthFieldBytes, frameFields.length)
  frame.writeUInt16LE(head.command & 0xffff, frameFields.command)
  frame.writeUInt16LE(head.flags & 0xffff, frameFields.flags)
  frame.writeUInt32LE(head.correlation >>> 0, frameFields.correlation)
  frame.writeUInt32LE(body.length, frameFields.bodyBytes)
  frame.set(body, frameHeaderBytes)
  frame.set(payload, frameHeaderBytes + body.length)
  return frame
}

/** The parts of a whole frame with correct sizes, as views. */
export function partsOf(frame: Buffer): {
  readonly command: number
  readonly flags: number
  readonly correlation: number
  readonly body: Buffer
  readonly payload: Buffer
} {
  const bodyEnd = frameHeaderBytes + frame.readUInt32LE(frameFields.bodyBytes)
  return {
    command: frame.readUInt16LE(frameFields.command),
    flags: frame.readUInt16LE(frameFields.flags),
    correlation: frame.readUInt32LE(frameFields.correlation),
    body: frame.subarray(frameHeaderBytes, bodyEnd),
    payload: frame.subarray(bodyEnd),
  }
}

/** Cuts a stream into whole frames, as bytes: a relay has to pass on unknown frames. */
export class FrameSplitter {
  #rest: Buffer = Buffer.alloc(0)

  push(chunk: Buffer): Buffer[] {
    const frames: Buffer[] = []
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    while (bytes.length >= lengthFieldBytes) {
      const frameBytes = lengthFieldBytes + bytes.readUInt32LE(0)
      if (bytes.length < frameBytes) break
      frames.push(bytes.subarray(0, frameBytes))
      bytes = bytes.subarray(frameBytes)
    }
    this.#rest = bytes
    return frames
  }
}
