import type { Socket } from 'node:net'
import type { Random } from '../../helpers/random.js'

/** The treatment of one direction; may change at any time, also for held data. */
export interface PipeMode {
  /** Everything arrives this much later, in milliseconds; the rate stays. */
  readonly delayMs: number
  /** Up to this many more milliseconds, random for each piece; order is kept. */
  readonly jitterMs: number
  /** Rate, for each connection. */
  readonly bytesPerSecond: number
  /** Nothing passes; the pipe holds the data, and blocks the sender when it is full. */
  readonly frozen: boolean
  /** Reads data and drops it. */
  readonly swallow: boolean
}

export const healthy: PipeMode = {
  delayMs: 0,
  jitterMs: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
  frozen: false,
  swallow: false,
}

/** The shared parts of the pipes of one direction. */
export interface PipeControl {
  readonly mode: () => PipeMode
  /** Says whether to cut a connection within these bytes: after how many. */
  readonly takeCut: (lengthBytes: number) => number | undefined
  /** Called with the bytes that went on to the other side. */
  readonly passed: (lengthBytes: number) => void
  readonly rng: Random
}

/** Bytes that a pipe holds before it stops reading. */
const heldBytesMax = 256 * 1024
/** At a limited rate, the duration of one piece. */
const pieceMs = 20
const nothing = Buffer.alloc(0)

interface Held {
  readonly bytes: Buffer
  readonly dueMs: number
  /** The connection ends after it: properly, or with a cut. */
  readonly end?: 'fin' | 'cut'
}

/** Carries bytes from one socket to another, and the end (FIN) after them. */
export class FaultyPipe {
  /** Bytes were dropped, so the rest of the stream would make no sense. */
  hasHole = false
  readonly #held: Held[] = []
  readonly #from: Socket
  readonly #to: Socket
  readonly #control: PipeControl
  #heldBytes = 0
  #lastDueMs = 0
  #timer: NodeJS.Timeout | undefined
  #waitsForDrain = false
  #closed = false

  constructor(from: Socket, to: Socket, control: PipeControl) {
    this.#from = from
    this.#to = to
    this.#control = control
    from.on('data', (bytes: Buffer) => this.#receive(bytes))
    from.on('end', () => this.#hold(nothing, 'fin'))
    to.on('drain', () => {
      this.#waitsForDrain = false
      this.pump()
    })
  }

  /** Ends the receiving side properly at once, without held data; later data is dropped. */
  end(): void {
    this.close()
    this.#from.resume()
    this.#to.end()
  }

  /** Stops carrying data. */
  close(): void {
    this.#closed = true
    this.#held.length = 0
    this.#heldBytes = 0
    clearTimeout(this.#timer)
  }

  /** Checks held data again: the mode has changed, or time has passed. */
  pump(): void {
    clearTimeout(this.#timer)
    while (!this.#closed && !this.#waitsForDrain && !this.#control.mode().frozen) {
      const [next] = this.#held
      if (next === undefined) break
      const waitMs = next.dueMs - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(waitMs))
        break
      }
      this.#held.shift()
      this.#pass(next)
    }
    if (this.#heldBytes < heldBytesMax) this.#from.resume()
  }

  #receive(bytes: Buffer): void {
    if (this.#closed) return
    const cutAt = this.#control.takeCut(bytes.length)
    if (this.#control.mode().swallow) this.hasHole = true
    else if (cutAt === undefined) this.#hold(bytes)
    else this.#hold(bytes.subarray(0, cutAt), 'cut')
  }

  #hold(bytes: Buffer, end?: 'fin' | 'cut'): void {
    if (this.#closed) return
    const { delayMs, jitterMs } = this.#control.mode()
    const jitter = jitterMs > 0 ? this.#control.rng.float() * jitterMs : 0
    this.#lastDueMs = Math.max(this.#lastDueMs, performance.now() + delayMs + jitter)
    this.#held.push({ bytes, dueMs: this.#lastDueMs, ...(end === undefined ? {} : { end }) })
    this.#heldBytes += bytes.length
    if (this.#heldBytes >= heldBytesMax) this.#from.pause()
    this.pump()
  }

  #pass({ bytes, end }: Held): void {
    const { bytesPerSecond } = this.#control.mode()
    const pieceBytes = Math.max(1, Math.min(bytes.length, Math.floor((bytesPerSecond * pieceMs) / 1000)))
    const piece = bytes.subarray(0, pieceBytes)
    const rest = bytes.subarray(pieceBytes)
    this.#heldBytes -= piece.length
    if (piece.length > 0) this.#waitsForDrain = !this.#to.write(piece)
    this.#control.passed(piece.length)
    const spentMs = (piece.length / bytesPerSecond) * 1000
    if (rest.length > 0 || spentMs > 0) {
      const dueMs = performance.now() + spentMs
      this.#held.unshift({ bytes: rest, dueMs, ...(end === undefined ? {} : { end }) })
    } else if (end === 'fin') this.#to.end()
    else if (end === 'cut') this.#cut()
  }

  /**
   * The receiver certainly gets the bytes before the cut, because a reset could overtake them; the sender gets the
   * reset.
   */
  #cut(): void {
    this.close()
    this.#to.end(() => this.#to.destroy())
    this.#from.resetAndDestroy()
  }
}
