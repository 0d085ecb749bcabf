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

/** Decoding one frame, whatever is in it, may take this long; a bomb is opened to 32 MiB at most. */
const frameMsMax = 2_000
const decodedRecordsMax = 200_000
const valueCodecs = [string, json(), msgpack()] as const

/** What one frame led to. */
export interface DecodeOutcome {
  /** Whether every part of it was accepted. */
  readonly accepted: boolean
  readonly finding: Finding | undefined
}

/**
 * Gives bytes to everything that decodes: the frame decoder, bodies, shapes, batch checks, decompression, records, and
 * the value codecs of the client. Only a MillraceError may come out (a codec of values may throw anything, which the
 * client wraps), and in bounded time.
 * @param cutAt where the bytes arrive in two chunks
 * @param allShapes whether the bodies are read by the shapes of every command, not only by the one that they name
 */
export function tryDecoders(bytes: Uint8Array, cutAt: number, allShapes: boolean): DecodeOutcome {
  // Most frames end in an error, whose stack would cost more than everything else; it is taken when it is needed.
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

/** As the broker checks what it stores, then as the client opens what it fetched. */
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
      // What a codec throws becomes the cause of DECODE_FAILED.
    }
  }
}

const hexBytesMax = 16 * 1024

/** The bytes of a frame for evidence; very long ones are cut, and say so. */
export function hexOf(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.subarray(0, hexBytesMax)).toString('hex')
  return bytes.length > hexBytesMax ? `${hex}... (${bytes.length} bytes)` : hex
}
