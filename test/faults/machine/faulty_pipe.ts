import type { Socket } from 'node:net'
import type { Random } from '../../helpers/random.js'

/** How one direction treats what passes; may change at any time, for what is still held as well. */
export interface PipeMode {
  /** Everything arrives so much later, in milliseconds; the rate stays. */
  readonly delayMs: number
  /** Up to so many more milliseconds, drawn for each piece; order is kept. */
  readonly jitterMs: number
  /** Rate, for each connection. */
  readonly bytesPerSecond: number
  /** Nothing passes; it is held, and when the hold fills up the sender is held up, too. */
  readonly frozen: boolean
  /** What comes is read and thrown away. */
  readonly swallow: boolean
}

export const healthy: PipeMode = {
  delayMs: 0,
  jitterMs: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
  frozen: false,
  swallow: false,
}

/** What pipes of one direction have in common. */
export interface PipeControl {
  readonly mode: () => PipeMode
  /** Says whether a connection should be cut within these bytes: after how many. */
  readonly takeCut: (lengthBytes: number) => number | undefined
  /** Told of bytes that went on to the other side. */
  readonly passed: (lengthBytes: number) => void
  readonly rng: Random
}

/** Bytes that a pipe holds before it stops reading. */
const heldBytesMax = 256 * 1024
/** At a limited rate, the time that one piece stands for. */
const pieceMs = 20
const nothing = Buffer.alloc(0)

interface Held {
  readonly bytes: Buffer
  readonly dueMs: number
  /** The connection ends after it: properly, or cut. */
  readonly end?: 'fin' | 'cut'
}

/** Carries bytes from one socket to another, and the end (FIN) after them. */
export class FaultyPipe {
  /** Bytes were thrown away, so what came after them would make no sense. */
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

  /** Ends the receiving side properly at once, without what is held; what comes later is thrown away. */
  end(): void {
    this.close()
    this.#from.resume()
    this.#to.end()
  }

  /** Carries nothing any more. */
  close(): void {
    this.#closed = true
    this.#held.length = 0
    this.#heldBytes = 0
    clearTimeout(this.#timer)
  }

  /** Looks again at what is held: the mode has changed, or time has passed. */
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

  /** The receiver gets the bytes before the cut for sure, as a reset could overtake them; the sender gets the reset. */
  #cut(): void {
    this.close()
    this.#to.end(() => this.#to.destroy())
    this.#from.resetAndDestroy()
  }
}
