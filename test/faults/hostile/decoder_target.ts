import { json, msgpack, string } from '../../../client/index.js'
import {
  checkBatchForStorage,
  commandOf,
  commands,
  decodeBody,
  type Frame,
  FrameDecoder,
  frameFlags,
  limits,
  MillraceError,
  RecordCursor,
  readErrorBody,
  readRecordHeaders,
  splitBatches,
} from '../../../protocol/index.js'
import type { Finding } from '../campaign.js'

/** Time limit of the decoding of one frame, whatever its content; a bomb is decompressed to 32 MiB at most. */
const frameMsMax = 2_000
const decodedRecordsMax = 200_000
const valueCodecs = [string, json(), msgpack()] as const

/** The result of one frame. */
export interface DecodeOutcome {
  /** Whether all its parts were accepted. */
  readonly accepted: boolean
  readonly finding: Finding | undefined
}

/**
 * Gives bytes to all decoders: the frame decoder, bodies, shapes, batch checks, decompression, records, and
 * the value codecs of the client. Only a MillraceError may come out (a codec of values may throw anything, which the
 * client wraps), and in bounded time.
 * @param cutAt position at which the bytes are split into two chunks
 * @param allShapes decode the bodies with the shapes of every command, not only of the named one
 */
export function tryDecoders(bytes: Uint8Array, cutAt: number, allShapes: boolean): DecodeOutcome {
  // Most frames end in an error, whose stack would cost more than everything else; so it is captured on demand.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  let outcome: DecodeOutcome
  try {
    outcome = decodeAll(bytes, cutAt, allShapes)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
  return outcome.finding?.check === 'decoder-threw' ? decodeAll(bytes, cutAt, allShapes) : outcome
}

function decodeAll(bytes: Uint8Array, cutAt: number, allShapes: boolean): DecodeOutcome {
  const startedMs = performance.now()
  let accepted = true
  let finding: Finding | undefined
  const attempt = (what: string, work: () => void): void => {
    try {
      work()
    } catch (error) {
      accepted = false
      if (error instanceof MillraceError) return
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      finding ??= { check: 'decoder-threw', evidence: `${what}: ${text}\nframe: ${hexOf(bytes)}` }
    }
  }
  const frames: Frame[] = []
  attempt('frame decoder', () => {
    const decoder = new FrameDecoder()
    frames.push(...decoder.push(bytes.subarray(0, cutAt)), ...decoder.push(bytes.subarray(cutAt)))
    if (decoder.bufferedBytes > Math.max(16 * bytes.length, 4096))
      throw new Error(`it holds ${decoder.bufferedBytes} bytes`)
  })
  for (const frame of frames) decodeFrame(frame, allShapes, attempt)
  const tookMs = performance.now() - startedMs
  if (tookMs > frameMsMax)
    finding ??= {
      check: 'decoder-slow',
      evidence: `it took ${Math.round(tookMs)} ms\nframe: ${hexOf(bytes)}`,
    }
  return { accepted: accepted && frames.length > 0, finding }
}

type Attempt = (what: string, work: () => void) => void

function decodeFrame(
  { command: number, flags, body, payload }: Frame,
  allShapes: boolean,
  attempt: Attempt,
): void {
  let decoded: unknown
  attempt('body', () => {
    decoded = decodeBody(body)
  })
  const isReply = (flags & frameFlags.reply) !== 0
  const command = commandOf(number)
  if ((flags & frameFlags.error) !== 0) attempt('error body', () => void readErrorBody(decoded))
  else if (command !== undefined)
    attempt(command.name, () => void (isReply ? command.reply : command.request).read(decoded, ''))
  if (allShapes) {
    for (const { name, request, reply } of Object.values(commands)) {
      attempt(`${name} request`, () => void request.read(decoded, ''))
      attempt(`${name} reply`, () => void reply.read(decoded, ''))
    }
  }
  if (payload.length > 0) decodePayload(payload, attempt)
}

/** As the broker checks batches before it stores them, then as the client opens fetched ones. */
function decodePayload(payload: Uint8Array, attempt: Attempt): void {
  attempt('batch check', () => void checkBatchForStorage(payload))
  attempt('batches', () => {
    for (const batch of splitBatches(payload)) {
      attempt('one batch check', () => void checkBatchForStorage(batch))
      attempt('records', () => walk(batch))
    }
  })
}

function walk(batch: Uint8Array): void {
  const cursor = new RecordCursor(batch, limits.frameBytesMax)
  for (let count = 0; cursor.next(); count++) {
    if (cursor.headerCount > 0) readRecordHeaders(cursor.records, cursor.headersStart, cursor.headerCount)
    if (cursor.valueStart >= 0 && count < 4)
      decodeValue(cursor.records.subarray(cursor.valueStart, cursor.valueEnd))
    if (count > decodedRecordsMax) break
  }
}

function decodeValue(value: Uint8Array): void {
  for (const codec of valueCodecs) {
    try {
      codec.decode(value)
    } catch {
      // An error of a codec becomes the cause of DECODE_FAILED.
    }
  }
}

const hexBytesMax = 16 * 1024

/** The bytes of a frame for evidence; very long ones are shortened and marked. */
export function hexOf(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.subarray(0, hexBytesMax)).toString('hex')
  return bytes.length > hexBytesMax ? `${hex}... (${bytes.length} bytes)` : hex
}
