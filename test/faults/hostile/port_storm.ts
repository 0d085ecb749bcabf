import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  commandOf,
  commands,
  decodeBody,
  encodeFrame,
  errorTable,
  frameFlags,
  MillraceError,
  protocolVersion,
  protocolVersionMin,
  readErrorBody,
} from '../../../protocol/index.js'
import type { Random } from '../../helpers/random.js'
import type { Finding } from '../campaign.js'
import { hexOf } from './decoder_target.js'
import { FrameSplitter, frameFields, partsOf } from './frame_bytes.js'
import { type HostileFrame, type Mutator, type ReadableRequest, readRequest } from './mutator.js'

export interface PortStormOptions {
  readonly port: number
  readonly random: Random
  readonly mutator: Mutator
  /** Number of concurrent connections. */
  readonly connections: number
  /** Requests with a legitimate effect that the witness takes for a fault: the storm does not send them. */
  readonly isForbidden: (request: ReadableRequest) => boolean
}

const burstFramesMax = 400
const burstBytesMax = 512 * 1024
const burstsPerConnectionMax = 5
/** The storm does not wait longer than this for a reply: a long poll takes up to a minute. */
const patienceMs = 400
const findingsMax = 20
const refusalsMax = 200
const refusedPauseMs = 50
const helloCorrelation = 1

/** Sends hostile frames over many connections at the rate of the answers, and reads every answer. */
export class PortStorm {
  /** Frames written. */
  sent = 0
  /** Answered frames, including the last message on a connection. */
  answered = 0
  connections = 0
  readonly findings: Finding[] = []
  readonly kinds: Record<string, number> = {}
  readonly #options: PortStormOptions
  readonly #hello: Buffer
  #refusals = 0
  #gaveUp = false

  constructor(options: PortStormOptions) {
    this.#options = options
    const said = {
      versionMin: protocolVersionMin,
      versionMax: protocolVersion,
      clientName: 'storm',
      clientVersion: '0',
    }
    this.#hello = encodeFrame(commands.hello.number, 0, helloCorrelation, said)
  }

  /** Resolves once `frames` more are answered, or when the signal is aborted, or the broker refuses connections. */
  async run(frames: number, signal: AbortSignal): Promise<void> {
    const goal = this.answered + frames
    const lane = async (): Promise<void> => {
      while (this.answered < goal && !signal.aborted && !this.#isOver) await this.#visit()
    }
    await Promise.all(Array.from({ length: this.#options.connections }, lane))
  }

  get #isOver(): boolean {
    return this.#gaveUp || this.findings.length >= findingsMax
  }

  /** One connection, from its beginning to its end. */
  async #visit(): Promise<void> {
    const { port, random } = this.#options
    const visit = new Visit(port, (reply, request) => this.#judge(reply, request))
    try {
      await visit.connected
      this.#refusals = 0
    } catch (error) {
      await this.#refused(error)
      return
    }
    this.connections++
    try {
      if (!random.chance(0.03)) await visit.greet(this.#hello, random.chance(0.97) ? patienceMs : 0)
      const bursts = random.int(1, burstsPerConnectionMax)
      for (let n = 0, ended = false; n < bursts && visit.isOpen && !ended; n++)
        ended = await this.#burst(visit)
      if (visit.owed === 0 && visit.isOpen) await visit.end(patienceMs)
    } finally {
      visit.destroy()
    }
  }

  /** This machine may be out of ports for a moment, or the broker out of descriptors; not for long. */
  async #refused(error: unknown): Promise<void> {
    if (++this.#refusals === refusalsMax)
      this.findings.push({
        check: 'broker-refuses',
        evidence: `${refusalsMax} times in a row: ${String(error)}`,
      })
    if (this.#refusals >= refusalsMax) this.#gaveUp = true
    await sleep(refusedPauseMs)
  }

  /**
   * Sends frames that a connection survives, and at most one fatal one at the end: usually after the answers of the
   * others,
   * because it drops their pending answers. Returns whether there was one.
   */
  async #burst(visit: Visit): Promise<boolean> {
    const { random, mutator, isForbidden } = this.#options
    const wanted = random.int(1, burstFramesMax)
    const frames: Buffer[] = []
    let last: Buffer | undefined
    for (let bytes = 0; last === undefined && frames.length < wanted && bytes < burstBytesMax; ) {
      const hostile = mutator.next()
      const request = readRequest(hostile.bytes)
      if (request !== undefined && isForbidden(request)) continue
      this.kinds[hostile.kind] = (this.kinds[hostile.kind] ?? 0) + 1
      if (request === undefined) {
        last = hostile.bytes
      } else {
        visit.expect(hostile)
        frames.push(hostile.bytes)
        bytes += hostile.bytes.length
      }
    }
    if (last !== undefined && random.chance(0.1)) frames.push(last)
    this.#write(visit, frames)
    await visit.settled(patienceMs)
    if (last === undefined) return false
    if (visit.isOpen && frames.at(-1) !== last) {
      this.#write(visit, [last])
      await visit.end(patienceMs)
    }
    return true
  }

  #write(visit: Visit, frames: readonly Buffer[]): void {
    const { random } = this.#options
    this.sent += frames.length
    visit.write(frames, random.chance(0.03) ? random.int(1, 40) : 0)
    if (random.chance(0.01)) visit.stopReading()
  }

  #judge(reply: Buffer, request: HostileFrame | undefined): void {
    this.answered++
    const problem = replyProblem(reply)
    if (problem === undefined || this.findings.length >= findingsMax) return
    const asked = request === undefined ? 'not known' : `${request.kind}: ${hexOf(request.bytes)}`
    const evidence = `${problem.evidence}\nframe ${this.answered}, ${asked}\nreply: ${hexOf(reply)}`
    this.findings.push({ check: problem.check, evidence })
  }
}

/** The error in a reply of a broker: an INTERNAL error, or a violation of its shape. */
export function replyProblem(reply: Buffer): Finding | undefined {
  const { command: number, flags, body } = partsOf(reply)
  try {
    const decoded = decodeBody(body)
    if ((flags & frameFlags.error) !== 0) {
      const error = readErrorBody(decoded)
      return error.code === 'INTERNAL' ? { check: 'internal-error', evidence: error.message } : undefined
    }
    const command = commandOf(number)
    if (command === undefined || (flags & frameFlags.reply) === 0)
      return { check: 'reply-malformed', evidence: `command ${number}, flags ${flags}` }
    const read = command.reply.read(decoded, '')
    return hasInternalEntry(number, read) ? { check: 'internal-error', evidence: 'in an entry' } : undefined
  } catch (error) {
    if (error instanceof MillraceError) return { check: 'reply-malformed', evidence: error.message }
    throw error
  }
}

/** Whether an entry of a reply with errors by entry has INTERNAL. */
function hasInternalEntry(command: number, body: unknown): boolean {
  const { results, partitions } = body as Readonly<Record<string, readonly unknown[] | undefined>>
  const internal = errorTable.INTERNAL.number
  if (command === commands.fetch.number)
    return (partitions as readonly (readonly unknown[])[]).some((entry) => entry[2] === internal)
  const entries = command === commands.offsetsList.number ? partitions : results
  return (
    (entries as readonly { readonly error?: unknown }[] | undefined)?.some(
      (entry) => entry.error === internal,
    ) === true
  )
}

/** One connection of the storm: its pending answers, and the waiting calls. */
class Visit {
  readonly connected: Promise<void>
  readonly #socket: Socket
  readonly #splitter = new FrameSplitter()
  readonly #expected = new Map<number, HostileFrame>()
  #owed = 0
  #correlation = helloCorrelation
  #wake: () => void = () => {}
  #progress = 0

  constructor(port: number, onReply: (reply: Buffer, request: HostileFrame | undefined) => void) {
    const socket = connect(port, '127.0.0.1')
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => this.#wake())
    this.connected = new Promise((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    socket.on('data', (chunk) => {
      for (const reply of this.#splitter.push(chunk)) {
        const correlation = reply.readUInt32LE(frameFields.correlation)
        if (correlation === helloCorrelation) {
          this.#wake()
          continue
        }
        onReply(reply, this.#expected.get(correlation))
        this.#expected.delete(correlation)
        this.#owed--
        this.#progress++
      }
      if (this.#owed <= 0) this.#wake()
    })
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed && this.#socket.writable && !this.#socket.readableEnded
  }

  get owed(): number {
    return this.#owed
  }

  /** Sends hello, and waits for the answer unless `patienceMs` is 0. */
  async greet(hello: Buffer, patienceMs: number): Promise<void> {
    this.#socket.write(hello)
    if (patienceMs > 0) await this.#woken(patienceMs)
  }

  /** Gives a frame a correlation that identifies its reply. */
  expect(frame: HostileFrame): void {
    frame.bytes.writeUInt32LE(++this.#correlation, frameFields.correlation)
    this.#expected.set(this.#correlation, frame)
    this.#owed++
  }

  /** @param pieceBytes above 0: writes the first bytes in pieces of this size */
  write(frames: readonly Buffer[], pieceBytes: number): void {
    const bytes = frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames)
    let at = 0
    for (let n = 0; pieceBytes > 0 && n < 100 && at < bytes.length; n++, at += pieceBytes)
      this.#socket.write(bytes.subarray(at, at + pieceBytes))
    if (at < bytes.length) this.#socket.write(bytes.subarray(at))
  }

  /** Stops reading, like a peer that hangs. */
  stopReading(): void {
    this.#socket.pause()
  }

  /** Resolves when everything is answered, the connection has ended, or nothing came for `patienceMs`. */
  async settled(patienceMs: number): Promise<void> {
    while (this.isOpen && this.#owed > 0) {
      const before = this.#progress
      await this.#woken(patienceMs)
      if (this.#progress === before) return
    }
  }

  /** Ends it; resolves when the broker has ended it too. */
  async end(patienceMs: number): Promise<void> {
    this.#socket.end()
    if (!this.#socket.destroyed) await this.#woken(patienceMs)
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #woken(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
