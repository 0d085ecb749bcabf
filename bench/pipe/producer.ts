import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { sendAtRate } from '../lib/latency.js'
import { jsonLines } from '../lib/sample_data.js'
import { serveWorker, type WorkerTask } from '../lib/worker.js'
import { ackBytes, BatchWriter, roles } from './batch.js'

export interface PipeProducerOptions {
  readonly port: number
  readonly messageBytes: number
  /** One promise per message, awaited in windows; otherwise only a limit of unacknowledged bytes. */
  readonly promises: boolean
  /** Sends at this rate instead; every value then begins with its intended time as a double, little-endian. */
  readonly messagesPerS?: number
}

const frameBytesMax = 64 * 1024
const unacknowledgedBytesMax = 4 * 1024 * 1024
const windowMessages = 10_000

class PipeProducer {
  readonly #writer = new BatchWriter(frameBytesMax)
  readonly #value: Buffer
  readonly #stopped = new AbortController()
  #resolvers: (() => void)[] = []
  #sent = 0
  #acknowledged = 0
  #wake: (() => void) | undefined

  constructor(
    readonly socket: Socket,
    readonly options: PipeProducerOptions,
  ) {
    this.#value = jsonLines(options.messageBytes)
    let rest: Buffer = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      let at = 0
      for (; at + ackBytes <= bytes.length; at += ackBytes) this.#acknowledge(bytes.readUInt32LE(at))
      rest = bytes.subarray(at)
    })
  }

  count(): { messages: number; bytes: number } {
    return { messages: this.#acknowledged, bytes: this.#acknowledged * this.options.messageBytes }
  }

  stop(): void {
    this.#stopped.abort()
  }

  /** Sends as fast as acknowledgements allow. */
  async runBounded(): Promise<void> {
    const unacknowledgedMax = unacknowledgedBytesMax / this.options.messageBytes
    while (!this.#stopped.signal.aborted) {
      if (this.#sent - this.#acknowledged > unacknowledgedMax) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
      while (this.#writer.hasRoomFor(this.#value)) this.#writer.add(this.#value)
      await this.#flush()
    }
  }

  /** Sends windows of messages with a promise each and waits for all promises of a window. */
  async runWindows(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      const window: Promise<void>[] = []
      for (let i = 0; i < windowMessages; i++) window.push(this.#send())
      await this.#flush()
      await Promise.all(window)
    }
  }

  /** Sends every message by itself when its time has come. */
  runAtRate(messagesPerS: number): Promise<void> {
    const send = (intendedMs: number): void => {
      this.#value.writeDoubleLE(intendedMs)
      this.#writer.add(this.#value)
      void this.#flush()
    }
    return sendAtRate(messagesPerS, send, this.#stopped.signal)
  }

  #send(): Promise<void> {
    if (!this.#writer.hasRoomFor(this.#value)) void this.#flush()
    this.#writer.add(this.#value)
    return new Promise((resolve) => {
      this.#resolvers.push(resolve)
    })
  }

  async #flush(): Promise<void> {
    this.#sent += this.#writer.messages
    if (this.socket.write(this.#writer.take())) await turn()
    else await once(this.socket, 'drain')
  }

  #acknowledge(messages: number): void {
    this.#acknowledged += messages
    if (this.options.promises) {
      const done = this.#resolvers.slice(0, messages)
      this.#resolvers = this.#resolvers.slice(messages)
      for (const resolve of done) resolve()
    }
    this.#wake?.()
    this.#wake = undefined
  }
}

async function start(options: PipeProducerOptions): Promise<WorkerTask> {
  const socket = connect({ port: options.port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  socket.write(Uint8Array.of(roles.producer))
  const producer = new PipeProducer(socket, options)
  if (options.messagesPerS !== undefined) void producer.runAtRate(options.messagesPerS)
  else void (options.promises ? producer.runWindows() : producer.runBounded())
  return {
    count: () => producer.count(),
    stop: async () => {
      producer.stop()
      socket.destroy()
    },
  }
}

await serveWorker(start)
