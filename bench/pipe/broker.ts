import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Level } from 'level'
import { serveWorker, type WorkerTask } from '../lib/worker.js'
import { ackBytes, BatchReader, type PipeBatch, roles } from './batch.js'

export interface PipeBrokerOptions {
  readonly folder: string
}

const mebibyte = 1024 * 1024
const commitBytesMax = 4 * mebibyte
const consumerQueueBytesMax = 16 * mebibyte

/**
 * Only group commit: everything that has arrived becomes one synced batch, is acknowledged, and goes to the consumer.
 */
class PipeBroker {
  readonly #db: Level<Uint8Array, Uint8Array>
  #waiting: PipeBatch[] = []
  #committing = false
  #position = 0n
  #producer: Socket | undefined
  #consumer: Socket | undefined
  #messages = 0
  #bytes = 0

  constructor(db: Level<Uint8Array, Uint8Array>) {
    this.#db = db
  }

  accept(socket: Socket): void {
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.once('data', (first: Buffer) => {
      if (first[0] === roles.consumer) {
        this.#consumer = socket
        return
      }
      this.#producer = socket
      const reader = new BatchReader((batch) => this.#receive(batch))
      reader.push(first.subarray(1))
      socket.on('data', (chunk: Buffer) => reader.push(chunk))
    })
  }

  count(): { messages: number; bytes: number } {
    return { messages: this.#messages, bytes: this.#bytes }
  }

  #receive(batch: PipeBatch): void {
    this.#waiting.push(batch)
    if (!this.#committing) void this.#commitAll()
  }

  async #commitAll(): Promise<void> {
    this.#committing = true
    while (this.#waiting.length > 0) {
      const batches = this.#takeCommit()
      const ops = batches.map(({ frame }) => ({ type: 'put' as const, key: this.#nextKey(), value: frame }))
      await this.#db.batch(ops, { sync: true })
      this.#deliver(batches)
    }
    this.#committing = false
  }

  #takeCommit(): PipeBatch[] {
    let bytes = 0
    const end = this.#waiting.findIndex(({ frame }) => {
      bytes += frame.length
      return bytes > commitBytesMax
    })
    const batches = end <= 0 ? this.#waiting : this.#waiting.slice(0, end)
    this.#waiting = end <= 0 ? [] : this.#waiting.slice(end)
    return batches
  }

  #deliver(batches: readonly PipeBatch[]): void {
    const messages = batches.reduce((sum, batch) => sum + batch.messages, 0)
    const ack = Buffer.alloc(ackBytes)
    ack.writeUInt32LE(messages)
    this.#producer?.write(ack)
    this.#messages += messages
    const consumer = this.#consumer
    consumer?.cork()
    for (const { frame } of batches) {
      this.#bytes += frame.length
      consumer?.write(frame)
    }
    consumer?.uncork()
    if (consumer !== undefined && consumer.writableLength > consumerQueueBytesMax) {
      this.#producer?.pause()
      consumer.once('drain', () => this.#producer?.resume())
    }
  }

  #nextKey(): Buffer {
    const key = Buffer.alloc(8)
    key.writeBigUInt64BE(this.#position++)
    return key
  }
}

async function start({ folder }: PipeBrokerOptions): Promise<WorkerTask> {
  const db = new Level<Uint8Array, Uint8Array>(folder, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    compression: false,
    writeBufferSize: 16 * mebibyte,
    maxFileSize: 32 * mebibyte,
  })
  await db.open()
  const broker = new PipeBroker(db)
  const server = createServer((socket) => broker.accept(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    ready: (server.address() as AddressInfo).port,
    count: () => broker.count(),
    stop: async () => {
      server.close()
      await db.close()
    },
  }
}

await serveWorker(start)
